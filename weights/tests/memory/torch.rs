//! Files of `torch.save`: short instructions that make many values, views that make much of little, and zips of entries.

use super::{alone, hold, pickles};

fn string(text: &str) -> Vec<u8> {
    [b"X", (text.len() as u32).to_le_bytes().as_slice(), text.as_bytes()].concat()
}

/// A pickle of these parts, each with how often it is there.
fn pickle(parts: &[(&[u8], usize)]) -> Vec<u8> {
    let body: Vec<u8> = parts.iter().flat_map(|(part, times)| part.repeat(*times)).collect();
    [b"\x80\x04", body.as_slice(), b"."].concat()
}

/// A tensor of this storage class, in storage 0.
fn tensor(class: &str, offset: i32, shape: &[i32], stride: &[i32]) -> Vec<u8> {
    let int = |int: &i32| [b"J".as_slice(), &int.to_le_bytes()].concat();
    let ints = |ints: &[i32]| [b"(".to_vec(), ints.iter().flat_map(int).collect(), b"t".to_vec()].concat();
    let class = format!("ctorch\n{class}\n");
    let storage = [b"(".to_vec(), string("storage"), class.into(), string("0"), string("cpu"), b"K\x00tQ".to_vec()];
    let head = b"ctorch._utils\n_rebuild_tensor_v2\n(";
    [head.to_vec(), storage.concat(), int(&offset), ints(shape), ints(stride), b"\x89NtR".to_vec()].concat()
}

/// A dict under memo 0 of `count` names with the value of memo 9.
fn dict_of(count: usize, value: &[u8]) -> Vec<u8> {
    let items: Vec<u8> = (0..count).flat_map(|i| [string(&format!("{i:x}")), b"h\x09".to_vec()].concat()).collect();
    [value, b"q\x090}q\x00(", &items, b"u"].concat()
}

type Case = (&'static str, (Vec<u8>, Vec<Vec<u8>>));

fn plain(what: &'static str, pickle: Vec<u8>) -> Case {
    (what, (pickle, vec![vec![0; 64]]))
}

/// Pickles whose values take many times their instructions.
fn values() -> Vec<Case> {
    const MANY: usize = 1_000_000;
    let small = tensor("FloatStorage", 0, &[1], &[1]);
    let storage =
        [b"(".to_vec(), string("storage"), b"ctorch\nFloatStorage\n".to_vec(), string("0"), b"tq\x010".to_vec()];
    let rebuild = b"ctorch._utils\n_rebuild_tensor_v2\nq\x010";
    let arguments = &small[b"ctorch._utils\n_rebuild_tensor_v2\n".len()..small.len() - 1];
    vec![
        plain("empty lists", pickle(&[(b"]", MANY)])),
        plain("empty tuples", pickle(&[(b")", MANY)])),
        plain("empty dicts", pickle(&[(b"}", MANY)])),
        plain("None", pickle(&[(b"N", MANY)])),
        plain("numbers", pickle(&[(b"K\x00", MANY)])),
        plain("tuples of one", pickle(&[(b"K\x00q\x00", 1), (b"h\x00\x85", MANY / 2)])),
        plain("tuples in tuples", pickle(&[(b"N", 1), (b"\x85", MANY)])),
        plain("lists of one", pickle(&[(b"]Na", MANY / 2)])),
        plain("dicts of one", pickle(&[(b"}NNs", MANY / 2)])),
        plain("a long list", pickle(&[(b"](", 1), (b"N", MANY), (b"e", 1)])),
        plain("a list appended to", pickle(&[(b"]", 1), (b"Na", MANY)])),
        plain("a dict added to", pickle(&[(b"}", 1), (b"NNs", MANY)])),
        plain("a long dict", pickle(&[(b"(", 1), (b"N", MANY), (b"d", 1)])),
        plain("memos", pickle(&[(b"N", 1), (b"\x94", MANY)])),
        plain("memos of lists", pickle(&[(b"]\x94", MANY / 2)])),
        plain("copies of the top", pickle(&[(b"N", 1), (b"2", MANY)])),
        plain("memos recalled", pickle(&[(b"]q\x00", 1), (b"h\x00", MANY)])),
        plain("marks", pickle(&[(b"(", MANY)])),
        plain("strings of a letter", pickle(&[(b"\x8c\x01a", MANY / 2)])),
        plain("bytes of one", pickle(&[(b"C\x01a", MANY / 2)])),
        plain("no UTF-8", pickle(&[(b"X\x00\x00\xf0\x00", 1), (b"\xff", 0xf0_0000)])),
        plain("instances", pickle(&[(b"cmine\nX\nq\x000", 1), (b"h\x00)\x81", MANY / 3)])),
        plain("items of instances", pickle(&[(b"cmine\nX\n)\x81", 1), (b"NNs", MANY)])),
        plain("names of classes", pickle(&[(b"ca\nb\n", MANY / 4)])),
        plain("storages", pickle(&[(&storage.concat(), 1), (b"h\x01Q", MANY / 3)])),
        plain("tensors", pickle(&[(rebuild, 1), (arguments, 1), (b"q\x020", 1), (b"h\x01h\x02R", MANY / 4)])),
        plain("sets", pickle(&[(b"c__builtin__\nset\nq\x01](NNNNNNNNe\x85q\x02", 1), (b"h\x01h\x02R", MANY / 4)])),
        plain("one large set", pickle(&[(b"c__builtin__\nset\n](", 1), (b"N", MANY * 3), (b"e\x85R", 1)])),
        plain("unread tensors", pickle(&[(b"ctorch._utils\n_rebuild_qtensor\nq\x01", 1), (b"h\x01)R", MANY / 3)])),
    ]
}

/// Values of moderate size that what follows makes much of.
fn followed() -> Vec<Case> {
    let small = tensor("FloatStorage", 0, &[1], &[1]);
    let list = |levels: usize| {
        let level = |_| [b"(".to_vec(), b"h\x01".repeat(200_000), b"lq\x01".to_vec()].concat();
        [b"]q\x01".to_vec(), (0..levels).flat_map(level).collect()].concat()
    };
    let long = string(&"a".repeat(20 << 20));
    let field = |name: &str, value: &[u8]| [string(name), value.to_vec(), b"s".to_vec()].concat();
    let names = |count, prefix: &str| [dict_of(count, &small), b"0}".to_vec(), field(prefix, b"h\x00")].concat();
    let unsaved: Vec<u8> = (0..60_000).flat_map(|i| string(&format!("{i:x}"))).collect();
    let module = |inner: &[u8]| {
        let modules = field("_modules", &[b"}".to_vec(), field("m", inner)].concat());
        let buffers = [field("_buffers", b"}"), field("_non_persistent_buffers_set", b"h\x05")].concat();
        [b"cmine\nM\n)\x81}".to_vec(), modules, buffers, b"b".to_vec()].concat()
    };
    let nested = (0..50).fold(b"N".to_vec(), |inner, _| module(&inner));
    let wide = [b"cmine\nM\n)\x81}(".to_vec(), b"h\x07h\x07".repeat(300_000), b"ub".to_vec()].concat();
    let slots = [b"cmine\nM\n)\x81(".to_vec(), b"h\x07".repeat(500_000), b"tb".to_vec()].concat();
    let on_top = |values: &[u8], fields: &[u8]| pickle(&[(values, 1), (b"0}", 1), (fields, 1)]);
    let under_model = |dict: &[u8]| [dict.to_vec(), b"0}".to_vec(), field("model", b"h\x00")].concat();
    let weights = |value: &[u8]| field("w", value);
    let class_names: Vec<u8> = [b"(".to_vec(), b"h\x06".repeat(60_000), b"l".to_vec()].concat();
    vec![
        plain("many names", pickle(&[(&dict_of(199_000, &small), 1)])),
        plain("long names", pickle(&[(&names(150_000, &"n".repeat(1000)), 1)])),
        plain("fewer of them, renamed", pickle(&[(&names(14_000, &format!("module.{}", "n".repeat(990))), 1)])),
        plain(
            "a tree as yaml",
            on_top(
                &list(8),
                &[field("yaml", &[b"}".to_vec(), field("a", b"h\x01")].concat()), weights(&small)].concat(),
            ),
        ),
        plain(
            "one text for all fields",
            on_top(
                &[long, b"q\x08".to_vec()].concat(),
                &[weights(&small), ["arch", "task", "license"].map(|name| field(name, b"h\x08")).concat()].concat(),
            ),
        ),
        plain(
            "buffers that are not saved",
            on_top(&[b"(".to_vec(), unsaved, b"lq\x05".to_vec()].concat(), &field("model", &nested)),
        ),
        plain("a wide module seen often", pickle(&[(b"Nq\x07", 1), (&under_model(&dict_of(300_000, &wide)), 1)])),
        plain("slots seen often", pickle(&[(b"Nq\x07", 1), (&dict_of(190_000, &slots), 1)])),
        plain("slots looked through often", pickle(&[(b"Nq\x07", 1), (&under_model(&dict_of(190_000, &slots)), 1)])),
        plain(
            "names of classes, long ones",
            on_top(
                &[string(&"c".repeat(4096)), b"q\x06".to_vec()].concat(),
                &[weights(&small), field("names", &class_names)].concat(),
            ),
        ),
    ]
}

/// Tensors that take more than the storage that they are views of.
fn views() -> Vec<Case> {
    let many = |count: i32, tensor: &dyn Fn(i32) -> Vec<u8>| {
        let items = (0..count).flat_map(|i| [string(&format!("w{i}")), tensor(i)].concat()).collect::<Vec<_>>();
        pickle(&[(b"}(", 1), (&items, 1), (b"u", 1)])
    };
    let one = |tensor: &[u8]| pickle(&[(b"}", 1), (&string("w"), 1), (tensor, 1), (b"s", 1)]);
    vec![
        ("expanded", (one(&tensor("FloatStorage", 0, &[40_000_000], &[0])), vec![vec![0; 4]])),
        ("shifted", (many(300, &|i| tensor("FloatStorage", i, &[200_000], &[1])), vec![vec![0; 1 << 20]])),
        ("shifted, in strides", (many(300, &|i| tensor("FloatStorage", i, &[100_000], &[2])), vec![vec![0; 1 << 20]])),
        ("small ones", (many(20_000, &|i| tensor("FloatStorage", i, &[1], &[1])), vec![vec![0; 1 << 20]])),
        ("as many as there can be", (many(60_000, &|i| tensor("FloatStorage", i, &[1], &[1])), vec![vec![0; 1 << 20]])),
        ("signed bytes", (one(&tensor("CharStorage", 0, &[20 << 20], &[1])), vec![vec![0; 20 << 20]])),
        ("signed bytes, in strides", (one(&tensor("CharStorage", 0, &[8 << 20], &[2])), vec![vec![0; 16 << 20]])),
    ]
}

#[test]
fn a_pickle_takes_twice_its_length_and_64_mb_whatever_it_makes() {
    let _alone = alone();
    let cases = [values(), followed(), views()].concat();
    assert_eq!(cases.len(), 46, "kinds");
    hold(cases, |path, (pickle, storages)| pickles::archive(path, &pickle, &storages), |_, _| {});
}

#[test]
fn the_plain_container_takes_no_more() {
    let _alone = alone();
    let start = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.";
    let legacy = |pickle: Vec<u8>| [start.as_slice(), &pickle, b"\x80\x02]."].concat();
    let cases = values().into_iter().step_by(2).map(|(what, (pickle, _))| (what, legacy(pickle))).collect();
    hold(cases, |path, bytes| std::fs::write(path, bytes).expect("written"), |_, _| {});
    let early = |pickle: Vec<u8>| [&start[..start.len() - 4], &pickle, b"\x80\x02}.\x80\x02]."].concat();
    let cases = values().into_iter().skip(1).step_by(4).map(|(what, (pickle, _))| (what, early(pickle))).collect();
    hold(cases, |path, bytes| std::fs::write(path, bytes).expect("written"), |_, _| {});
}

/// A zip's directory of `count` entries of this name, all at the file's start, and the record that ends it.
fn directory(count: usize, name: &[u8], said: u16) -> Vec<u8> {
    let entry = [b"PK\x01\x02".as_slice(), &[0; 24], &(name.len() as u16).to_le_bytes(), &[0; 16], name].concat();
    let entries = entry.repeat(count);
    let (length, start) = ((entries.len() as u32).to_le_bytes(), 4u32.to_le_bytes());
    let said = said.to_le_bytes();
    [b"PK\x03\x04".as_slice(), &entries, b"PK\x05\x06\0\0\0\0", &said, &said, &length, &start, b"\0\0"].concat()
}

/// A zip64 record that says what it likes, in front of the record that refers to it.
fn zip64(count: u64, length: u64, start: u64) -> Vec<u8> {
    let numbers = [count, count, length, start].map(u64::to_le_bytes).concat();
    let record = [b"PK\x06\x06".as_slice(), &44u64.to_le_bytes(), &[0; 12], &numbers].concat();
    let locator = [b"PK\x06\x07".as_slice(), &[0; 4], &4u64.to_le_bytes(), &1u32.to_le_bytes()].concat();
    [b"PK\x03\x04".as_slice(), &record, &locator, b"PK\x05\x06\0\0\0\0", &[0xff; 12], b"\0\0"].concat()
}

#[test]
fn the_directory_of_a_zip_takes_no_more_and_is_not_believed() {
    let _alone = alone();
    let cases = vec![
        ("65535 entries", directory(65_535, b"a", 65_535)),
        ("long names", directory(900, &[b'a'; 60_000], 900)),
        ("storages of no bytes", directory(65_535, b"data/1", 65_535)),
        ("fewer than announced", directory(3, b"a", 65_535)),
        ("2^32 announced", zip64(1 << 32, 1 << 60, 1 << 40)),
        ("2^63 announced", zip64(1 << 63, u64::MAX, 4)),
        ("2^40 at the start", zip64(1 << 40, 1 << 50, 0)),
    ];
    let refused = |what: &str, result: Result<_, ghostzoo_weights::Error>| assert!(result.is_err(), "{what}");
    hold(cases, |path, bytes| std::fs::write(path, bytes).expect("written"), refused);
}

#[test]
fn tied_tensors_and_large_permuted_ones_are_read_within_the_same() {
    let _alone = alone();
    let large = vec![1u8; 72 << 20];
    let count = (large.len() / 4) as i32;
    let one = |tensor: Vec<u8>| pickle(&[(b"}", 1), (&string("w"), 1), (&tensor, 1), (b"s", 1)]);
    let tied: Vec<u8> =
        (0..6).flat_map(|i| [string(&format!("w{i}")), tensor("FloatStorage", 0, &[count], &[1])].concat()).collect();
    let cases = vec![
        ("one large tensor", (one(tensor("FloatStorage", 0, &[count], &[1])), large.clone())),
        ("permuted", (one(tensor("FloatStorage", 0, &[4, count / 4], &[1, 4])), large.clone())),
        ("tied six times", (pickle(&[(b"}(", 1), (&tied, 1), (b"u", 1)]), large)),
    ];
    hold(
        cases,
        |path, (pickle, storage)| pickles::archive(path, &pickle, &[storage]),
        |what, result| {
            let tensors = result.unwrap_or_else(|error| panic!("{what}: {error}")).tensors.len();
            assert_eq!(tensors, if what.starts_with("tied") { 6 } else { 1 }, "{what}");
        },
    );
}
