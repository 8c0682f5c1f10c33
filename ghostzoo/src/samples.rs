//! Images to try a model on (`ghostzoo/assets`).

/// An image in the program's own memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleImage {
    /// Its file's name.
    pub name: &'static str,
    /// What it shows, and whose it is.
    pub what: &'static str,
    /// The file, a JPEG.
    pub bytes: &'static [u8],
}

/// For detectors: blood cells.
pub const BLOOD_CELLS: SampleImage = SampleImage {
    name: "BloodImage_00062.jpg",
    what: "blood cells, from BCCD's test images",
    bytes: include_bytes!("../assets/BloodImage_00062.jpg"),
};

/// For classifiers: a ship.
pub const FREIGHTER: SampleImage = SampleImage {
    name: "freighter.jpg",
    what: "a drawn ship at sea",
    bytes: include_bytes!("../assets/freighter.jpg"),
};
