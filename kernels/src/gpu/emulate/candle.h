// Candle's own kernels that ghostzoo needs beside its own, by candle's signatures. Part of functions.h.

// Elements by their index in a tensor of any strides: dimensions, then strides, or nothing where they are contiguous.
struct Strided {
    std::vector<size_t> dims, strides;

    Strided(const Arguments &a, size_t rank, uintptr_t info, uint operand, uint operands) {
        if (info == 0) {
            return;
        }
        const size_t *words = reinterpret_cast<const size_t *>(info);
        driver().check(info, (1 + operands) * rank * sizeof(size_t), a.device);
        dims.assign(words, words + rank);
        strides.assign(words + (1 + operand) * rank, words + (2 + operand) * rank);
    }

    size_t operator()(size_t index) const {
        size_t at = dims.empty() ? index : 0;
        for (size_t i = dims.size(); i-- > 0; index /= dims[i]) at += index % dims[i] * strides[i];
        return at;
    }
};

template <class T>
static Checked<T> memory_at(const Arguments &a, uintptr_t address) {
    return {reinterpret_cast<T *>(address), driver().bytes_from(address, a.device) / sizeof(T)};
}

// Of one operand, by (elements, rank, info, input, output): f(input) for each element.
template <class S, class T, class F>
static Function mapped(F f) {
    return [f](void **arguments, Arguments a) -> Work {
        const size_t len = argument<size_t>(arguments, 0), rank = argument<size_t>(arguments, 1);
        const uintptr_t info = argument<uintptr_t>(arguments, 2), from = argument<uintptr_t>(arguments, 3),
                        to = argument<uintptr_t>(arguments, 4);
        return [=] {
            const Strided at(a, rank, info, 0, 1);
            const Checked<T> output = memory_at<T>(a, to);
            const Checked<S> input = from ? memory_at<S>(a, from) : memory_at<S>(a, to);
            for (size_t i = 0; i < len; i++) output[i] = f(input[at(i)]);
        };
    };
}

// By (elements, rank, info, input, output, factor, summand).
template <class T>
static Function affine() {
    return [](void **arguments, Arguments a) -> Work {
        const size_t len = argument<size_t>(arguments, 0), rank = argument<size_t>(arguments, 1);
        const uintptr_t info = argument<uintptr_t>(arguments, 2), from = argument<uintptr_t>(arguments, 3),
                        to = argument<uintptr_t>(arguments, 4);
        const T factor = argument<T>(arguments, 5), summand = argument<T>(arguments, 6);
        return [=] {
            const Strided at(a, rank, info, 0, 1);
            const Checked<T> output = memory_at<T>(a, to), input = memory_at<T>(a, from ? from : to);
            for (size_t i = 0; i < len; i++) output[i] = T(float(input[at(i)]) * float(factor) + float(summand));
        };
    };
}

// Of two operands, by (elements, rank, info, left, right, output).
template <class T, class F>
static Function paired(F f) {
    return [f](void **arguments, Arguments a) -> Work {
        const size_t len = argument<size_t>(arguments, 0), rank = argument<size_t>(arguments, 1);
        const uintptr_t info = argument<uintptr_t>(arguments, 2), left = argument<uintptr_t>(arguments, 3),
                        right = argument<uintptr_t>(arguments, 4), to = argument<uintptr_t>(arguments, 5);
        return [=] {
            const Strided left_at(a, rank, info, 0, 2), right_at(a, rank, info, 1, 2);
            const Checked<T> output = memory_at<T>(a, to), l = memory_at<T>(a, left), r = memory_at<T>(a, right);
            for (size_t i = 0; i < len; i++) output[i] = T(f(l[left_at(i)], r[right_at(i)]));
        };
    };
}

// Sums of runs of the input, by (elements, elements of a run, rank, info, input, output); `of_runs`: that counts runs instead.
template <class T>
static Function summed(bool of_runs) {
    return [of_runs](void **arguments, Arguments a) -> Work {
        const size_t len = argument<size_t>(arguments, 0), run = argument<size_t>(arguments, 1);
        const size_t rank = argument<size_t>(arguments, 2);
        const uintptr_t info = argument<uintptr_t>(arguments, 3), from = argument<uintptr_t>(arguments, 4),
                        to = argument<uintptr_t>(arguments, 5);
        return [=] {
            const Strided at(a, rank, info, 0, 1);
            const Checked<T> input = memory_at<T>(a, from), output = memory_at<T>(a, to);
            for (size_t i = 0; i < (of_runs ? len : len / run); i++) {
                float sum = 0;
                for (size_t j = 0; j < run; j++) sum += float(input[at(i * run + j)]);
                output[i] = T(sum);
            }
        };
    };
}

// Rows by (input, output, rows, columns, step of the input's rows, step of the output's).
template <class T>
static Work copied_rows(void **arguments, Arguments a) {
    const uintptr_t from = argument<uintptr_t>(arguments, 0), to = argument<uintptr_t>(arguments, 1);
    const uint rows = argument<uint>(arguments, 2), columns = argument<uint>(arguments, 3);
    const uint from_step = argument<uint>(arguments, 4), to_step = argument<uint>(arguments, 5);
    return [=] {
        const Checked<T> input = memory_at<T>(a, from), output = memory_at<T>(a, to);
        for (size_t row = 0; row < rows; row++) {
            for (size_t i = 0; i < columns; i++) output[row * to_step + i] = input[row * from_step + i];
        }
    };
}

// Sets elements, by (elements, rank, info, value, output).
template <class T>
static Work set(void **arguments, Arguments a) {
    const size_t len = argument<size_t>(arguments, 0), rank = argument<size_t>(arguments, 1);
    const uintptr_t info = argument<uintptr_t>(arguments, 2), to = argument<uintptr_t>(arguments, 4);
    const T value = argument<T>(arguments, 3);
    return [=] {
        const Strided at(a, rank, info, 0, 1);
        const Checked<T> output = memory_at<T>(a, to);
        for (size_t i = 0; i < len; i++) output[at(i)] = value;
    };
}

template <class S>
static void list_casts(std::map<std::string, Function> &all, const std::string &from) {
    all["cast_" + from + "_f32"] = mapped<S, float>([](S x) { return float(x); });
    all["cast_" + from + "_f64"] = mapped<S, double>([](S x) { return double(float(x)); });
    all["cast_" + from + "_f16"] = mapped<S, _Float16>([](S x) { return _Float16(float(x)); });
    all["cast_" + from + "_bf16"] = mapped<S, Bf16>([](S x) { return Bf16(float(x)); });
    all["cast_" + from + "_u32"] = mapped<S, uint>([](S x) { return uint(float(x)); });
}

template <class T>
static void list_arithmetic(std::map<std::string, Function> &all, const std::string &type) {
    list_casts<T>(all, type);
    all["ucopy_" + type] = mapped<T, T>([](T x) { return x; });
    all["copy2d_" + type] = copied_rows<T>;
    all["const_set_" + type] = set<T>;
    all["affine_" + type] = affine<T>();
    all["fast_sum_" + type] = summed<T>(false);
    all["fast_sum_small_" + type] = summed<T>(true);
    all["badd_" + type] = paired<T>([](T x, T y) { return float(x) + float(y); });
    all["bsub_" + type] = paired<T>([](T x, T y) { return float(x) - float(y); });
    all["bmul_" + type] = paired<T>([](T x, T y) { return float(x) * float(y); });
    all["bdiv_" + type] = paired<T>([](T x, T y) { return float(x) / float(y); });
    all["uabs_" + type] = mapped<T, T>([](T x) { return T(std::fabs(float(x))); });
    all["uneg_" + type] = mapped<T, T>([](T x) { return T(-float(x)); });
    all["usqr_" + type] = mapped<T, T>([](T x) { return T(float(x) * float(x)); });
    all["usqrt_" + type] = mapped<T, T>([](T x) { return T(std::sqrt(float(x))); });
}

static void list_of_candle(std::map<std::string, Function> &all) {
    list_arithmetic<float>(all, "f32");
    list_arithmetic<_Float16>(all, "f16");
    list_arithmetic<Bf16>(all, "bf16");
    list_casts<uint>(all, "u32");
    list_casts<unsigned char>(all, "u8");
    all["ucopy_u32"] = mapped<uint, uint>([](uint x) { return x; });
    all["copy2d_u32"] = copied_rows<uint>;
}
