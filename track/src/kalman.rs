//! Kalman filter of a box that moves at a constant velocity (Kalman 1960; the noise of SORT's successors, from DeepSORT,
//! Wojke et al., arXiv 1703.07402). One step of time is one frame.

/// Which four numbers of a box are measured. Their velocities are the other half of the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BoxForm {
    /// Centre, ratio of width to height, height: ByteTrack, OC-SORT.
    Xyah,
    /// Centre, width, height: BoT-SORT, TrackTrack.
    Xywh,
}

/// Deviation of a position, as a part of the size of the box.
const POSITION: f64 = 1.0 / 20.0;
/// Deviation of a velocity, as a part of the size of the box.
const VELOCITY: f64 = 1.0 / 160.0;
/// Deviations of the ratio: as known at first and after each step, of its velocity, and as measured.
const RATIO: [f64; 3] = [1e-2, 1e-5, 1e-1];
/// Least part of the measurement's noise that a sure detection leaves.
const LEAST_NOISE: f64 = 0.05;

/// What is known of a box: four numbers and their velocities, normally distributed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BoxState {
    form: BoxForm,
    /// Numbers of the box, then their velocities.
    pub(crate) mean: [f64; 8],
    /// Symmetric.
    pub(crate) covariance: [[f64; 8]; 8],
}

impl BoxState {
    /// A box seen once, at rest.
    pub(crate) fn new(form: BoxForm, measurement: [f64; 4]) -> Self {
        let mut mean = [0.0; 8];
        mean[..4].copy_from_slice(&measurement);
        let mut covariance = [[0.0; 8]; 8];
        let (position, velocity) = form.deviations(&mean, 2.0 * POSITION, 10.0 * VELOCITY);
        for (i, deviation) in position.into_iter().chain(velocity).enumerate() {
            covariance[i][i] = deviation * deviation;
        }
        Self { form, mean, covariance }
    }

    /// One frame on.
    pub(crate) fn predict(&mut self) {
        let (position, velocity) = self.form.deviations(&self.mean, POSITION, VELOCITY);
        for i in 0..4 {
            self.mean[i] += self.mean[i + 4];
        }
        let covariance = &mut self.covariance;
        let (numbers, velocities) = covariance.split_at_mut(4);
        for (number, velocity) in numbers.iter_mut().zip(velocities) {
            number.iter_mut().zip(velocity).for_each(|(value, change)| *value += *change);
        }
        for row in covariance.iter_mut() {
            let (numbers, velocities) = row.split_at_mut(4);
            numbers.iter_mut().zip(velocities).for_each(|(value, change)| *value += *change);
        }
        for i in 0..4 {
            covariance[i][i] += position[i] * position[i];
            covariance[i + 4][i + 4] += velocity[i] * velocity[i];
        }
    }

    /// Takes a measurement in. With the score of its detection the noise is the smaller the surer that is (NSA Kalman filter,
    /// GIAOTracker, Du et al., 2021).
    pub(crate) fn update(&mut self, measurement: [f64; 4], confidence: Option<f64>) {
        let (mut deviations, _) = self.form.deviations(&self.mean, POSITION, 0.0);
        if self.form == BoxForm::Xyah {
            deviations[2] = RATIO[2];
        }
        let part = confidence.map_or(1.0, |confidence| (1.0 - confidence).max(LEAST_NOISE));
        // Covariance of the measured numbers with the state, and of the measurement.
        let cross: [[f64; 4]; 8] = std::array::from_fn(|i| std::array::from_fn(|j| self.covariance[i][j]));
        let mut measured: [[f64; 4]; 4] = std::array::from_fn(|i| cross[i]);
        for i in 0..4 {
            measured[i][i] += deviations[i] * deviations[i] * part;
        }
        let factor = cholesky(measured);
        let gain = cross.map(|row| solve(&factor, row));
        let innovation: [f64; 4] = std::array::from_fn(|i| measurement[i] - self.mean[i]);
        for (i, gain) in gain.iter().enumerate() {
            self.mean[i] += dot(*gain, innovation);
            for (j, cross) in cross.iter().enumerate().take(i + 1) {
                let known = self.covariance[i][j] - dot(*gain, *cross);
                self.covariance[i][j] = known;
                self.covariance[j][i] = known;
            }
        }
    }

    /// Moves the box with the camera by an affine map, row-major 2x3, from the previous frame's pixels to this frame's.
    /// Centre and its velocity turn; width and height become those of the box around the turned one. Of a form with width
    /// and height.
    pub(crate) fn warp(&mut self, affine: &[f64; 6]) {
        let [a, b, x, c, d, y] = *affine;
        let turned = [[a, b], [c, d]];
        let around = turned.map(|row| row.map(f64::abs));
        let apply = |vector: &mut [f64; 8]| {
            for (pair, map) in [turned, around, turned, around].iter().enumerate() {
                let [first, second] = [vector[2 * pair], vector[2 * pair + 1]];
                vector[2 * pair] = map[0][0] * first + map[0][1] * second;
                vector[2 * pair + 1] = map[1][0] * first + map[1][1] * second;
            }
        };
        apply(&mut self.mean);
        self.mean[0] += x;
        self.mean[1] += y;
        // M C Mᵀ, as M applied to the rows of C, twice, since C is symmetric.
        for _ in 0..2 {
            self.covariance.iter_mut().for_each(apply);
            self.covariance = std::array::from_fn(|i| std::array::from_fn(|j| self.covariance[j][i]));
        }
    }

    /// Left, top, right, bottom.
    pub(crate) fn xyxy(&self) -> [f64; 4] {
        let [x, y, third, height, ..] = self.mean;
        let width = if self.form == BoxForm::Xyah { third * height } else { third };
        let (left, top) = (x - width / 2.0, y - height / 2.0);
        [left, top, left + width, top + height]
    }

    /// Sets the velocities of the size to zero, which are not to be trusted while the box is not seen: those of width and
    /// height, or that of the height alone.
    pub(crate) fn keep_size(&mut self) {
        if self.form == BoxForm::Xywh {
            self.mean[6] = 0.0;
        }
        self.mean[7] = 0.0;
    }

    pub(crate) fn form(&self) -> BoxForm {
        self.form
    }
}

impl BoxForm {
    /// Deviations of the numbers and of their velocities, of parts of the size of the box.
    fn deviations(self, mean: &[f64; 8], position: f64, velocity: f64) -> ([f64; 4], [f64; 4]) {
        let height = mean[3];
        match self {
            Self::Xyah => {
                let of = |part: f64, ratio| [part * height, part * height, ratio, part * height];
                (of(position, RATIO[0]), of(velocity, RATIO[1]))
            }
            Self::Xywh => {
                let of = |part: f64| [part * mean[2], part * height, part * mean[2], part * height];
                (of(position), of(velocity))
            }
        }
    }
}

fn dot(a: [f64; 4], b: [f64; 4]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2] + a[3] * b[3]
}

/// The lower triangle L of a positive definite matrix L Lᵀ.
fn cholesky(matrix: [[f64; 4]; 4]) -> [[f64; 4]; 4] {
    let mut lower = [[0.0; 4]; 4];
    for i in 0..4 {
        for j in 0..=i {
            let rest = matrix[i][j] - (0..j).map(|k| lower[i][k] * lower[j][k]).sum::<f64>();
            lower[i][j] = if i == j { rest.max(f64::MIN_POSITIVE).sqrt() } else { rest / lower[j][j] };
        }
    }
    lower
}

/// The x of L Lᵀ x = b.
fn solve(lower: &[[f64; 4]; 4], mut b: [f64; 4]) -> [f64; 4] {
    for i in 0..4 {
        let known: f64 = (0..i).map(|k| lower[i][k] * b[k]).sum();
        b[i] = (b[i] - known) / lower[i][i];
    }
    for i in (0..4).rev() {
        let known: f64 = (i + 1..4).map(|k| lower[k][i] * b[k]).sum();
        b[i] = (b[i] - known) / lower[i][i];
    }
    b
}

#[cfg(test)]
mod tests;
