use super::*;
use crate::data::fixtures::{data, expected};

#[test]
fn tables_are_read_as_scipy_reads_them() {
    let golden: Vec<(usize, String)> = serde_json::from_value(expected()["synsets"].clone()).unwrap();
    for name in ["meta.mat", "meta-plain.mat"] {
        assert_eq!(read_synsets(&data(name)).unwrap(), golden, "{name}");
    }
}

#[test]
fn cut_and_damaged_files_are_refused_or_read() {
    for name in ["meta.mat", "meta-plain.mat"] {
        let bytes = std::fs::read(data(name)).unwrap();
        let whole = synsets(&bytes).unwrap();
        for length in 0..bytes.len() {
            if let Ok(rows) = synsets(&bytes[..length]) {
                assert_eq!(rows, whole, "{name} cut to {length} bytes");
                assert!(length + 8 > bytes.len(), "{name} cut to {length} bytes: padding alone may be missing");
            }
        }
        for at in 0..bytes.len() {
            for value in [0, 1, 0x7F, 0xFF] {
                let mut damaged = bytes.clone();
                damaged[at] = value;
                let _ = synsets(&damaged);
            }
        }
    }
}

#[test]
fn what_unpacks_to_too_much_is_refused() {
    use std::io::Write;
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&vec![0; MAX_BYTES as usize + 1]).unwrap();
    let packed = encoder.finish().unwrap();
    let mut bytes = vec![b' '; 124];
    bytes.extend(b"\x00\x01IM");
    bytes.extend(COMPRESSED.to_le_bytes());
    bytes.extend((packed.len() as u32).to_le_bytes());
    bytes.extend(packed);
    assert!(synsets(&bytes).unwrap_err().contains("more than"));
}
