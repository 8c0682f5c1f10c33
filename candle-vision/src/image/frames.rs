//! How many frames or pages a file has, by its headers.

use image::ImageFormat;

/// Most pages that are counted.
const MOST: usize = 65_536;

/// Frames of an animation, pages of a TIFF; 1 where the file is a still image, or its headers do not tell.
///
/// An APNG's still image that is no frame of its animation counts too, for it is the one that is decoded. Reduced images and
/// masks among a TIFF's pages do not count.
pub(super) fn count(bytes: &[u8], format: ImageFormat) -> usize {
    let count = match format {
        ImageFormat::Png => of_png(bytes),
        ImageFormat::Gif => of_gif(bytes),
        ImageFormat::WebP => Some(super::webp::frames(bytes)),
        #[cfg(feature = "tiff")]
        ImageFormat::Tiff => Some(super::tiff_directory::pages(bytes, MOST)),
        #[cfg(feature = "avif")]
        ImageFormat::Avif => samples(bytes, &[b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsz"]),
        _ => None,
    };
    count.unwrap_or(1).clamp(1, MOST)
}

/// By the animation's control chunk, which stands before the pixels: <https://www.w3.org/TR/png-3/#acTL-chunk>.
fn of_png(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes.get(8..)?;
    let (mut frames, mut is_first_frame) = (None, false);
    loop {
        let (&length, behind) = rest.split_first_chunk::<4>()?;
        let (name, content) = behind.split_first_chunk::<4>()?;
        match name {
            b"acTL" => frames = content.first_chunk().map(|count| u32::from_be_bytes(*count) as usize),
            b"fcTL" => is_first_frame = true,
            b"IDAT" => return frames.map(|frames| frames.saturating_add(usize::from(!is_first_frame))),
            _ => {}
        }
        rest = content.get((u32::from_be_bytes(length) as usize).checked_add(4)?..)?;
    }
}

/// Image descriptors, of which each is followed by blocks of data, the last of them empty: GIF 89a, sections 15 to 27.
fn of_gif(bytes: &[u8]) -> Option<usize> {
    let table = |flags: u8| if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) };
    let mut at = 13 + table(*bytes.get(10)?);
    let mut frames = 0;
    loop {
        // What is cut keeps the frames that began.
        let Some(kind) = bytes.get(at) else { return Some(frames) };
        at = match kind {
            0x2C => {
                frames += 1;
                let Some(flags) = bytes.get(at + 9) else { return Some(frames) };
                at + 11 + table(*flags)
            }
            0x21 => at + 2,
            _ => return Some(frames),
        };
        while let Some(&length) = bytes.get(at) {
            at += 1 + usize::from(length);
            if length == 0 {
                break;
            }
        }
    }
}

/// The samples of the longest track of a sequence: ISO/IEC 14496-12, `stsz`.
#[cfg(feature = "avif")]
fn samples(bytes: &[u8], path: &[&[u8; 4]]) -> Option<usize> {
    let Some((name, below)) = path.split_first() else {
        return bytes.get(8..12)?.first_chunk().map(|count| u32::from_be_bytes(*count) as usize);
    };
    let mut rest = bytes;
    let mut most = None;
    while let Some((found, content, behind)) = super::avif_boxes::next_box(rest) {
        if found == *name {
            most = most.max(samples(content, below));
        }
        rest = behind;
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png_chunk(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
        [&(content.len() as u32).to_be_bytes(), name.as_slice(), content, &[0; 4]].concat()
    }

    #[test]
    fn an_apng_counts_its_still_image_where_that_is_no_frame() {
        let png = |chunks: &[Vec<u8>]| [b"\x89PNG\r\n\x1a\n".to_vec(), chunks.concat()].concat();
        let [header, frame, pixels] =
            [(b"IHDR", 13), (b"fcTL", 26), (b"IDAT", 4)].map(|(n, l)| png_chunk(n, &vec![0; l]));
        let control = png_chunk(b"acTL", &[0, 0, 0, 12, 0, 0, 0, 0]);
        for (chunks, expected) in [
            (&[header.clone(), pixels.clone()][..], 1),
            (&[header.clone(), control.clone(), frame.clone(), pixels.clone()], 12),
            (&[header.clone(), control.clone(), pixels.clone(), frame], 13),
            (&[header, control], 1),
        ] {
            assert_eq!(count(&png(chunks), ImageFormat::Png), expected);
        }
    }

    #[test]
    fn frames_of_a_gif_are_counted_past_tables_and_extensions() {
        let head = [b"GIF89a\x02\0\x02\0\x80\0\0".as_slice(), &[0; 6]].concat();
        let control = b"\x21\xF9\x04\0\0\0\0\0".as_slice();
        let frame = b"\x2C\0\0\0\0\x02\0\x02\0\0\x02\x02\x84\x51\0".as_slice();
        let own_table = [b"\x2C\0\0\0\0\x02\0\x02\0\x80".as_slice(), &[0x2C; 6], b"\x02\x02\x84\x51\0"].concat();
        let gif = |parts: &[&[u8]]| count(&[&head, parts.concat().as_slice()].concat(), ImageFormat::Gif);
        assert_eq!(gif(&[control, frame, b";"]), 1);
        assert_eq!(gif(&[control, frame, control, &own_table, frame, b";"]), 3);
        assert_eq!((gif(&[frame, &frame[..5]]), gif(&[])), (2, 1));
    }

    #[test]
    fn frames_of_a_webp_are_its_frame_chunks() {
        let chunk =
            |name: &[u8; 4], content: &[u8]| [name, (content.len() as u32).to_le_bytes().as_slice(), content].concat();
        let webp = |chunks: &[Vec<u8>]| [b"RIFF\0\0\0\0WEBP".to_vec(), chunks.concat()].concat();
        let frames =
            [chunk(b"VP8X", &[2; 10]), chunk(b"ANIM", &[0; 6]), chunk(b"ANMF", &[0; 16]), chunk(b"ANMF", &[0; 16])];
        assert_eq!(count(&webp(&frames), ImageFormat::WebP), 2);
        assert_eq!(count(&webp(&[chunk(b"VP8L", &[0; 6])]), ImageFormat::WebP), 1);
    }

    #[cfg(feature = "tiff")]
    #[test]
    fn pages_of_a_tiff_are_its_directories_but_for_reduced_ones_and_loops_have_an_end() {
        // Directories at 8, 26, 44, …, each with NewSubfileType alone, the last of which leads to `last`.
        let tiff = |kinds: &[u8], last: u32| {
            let mut bytes = b"II*\0\x08\0\0\0".to_vec();
            for (page, kind) in kinds.iter().enumerate() {
                let next = if page + 1 == kinds.len() { last } else { 8 + 18 * (page as u32 + 1) };
                bytes.extend([1, 0, 254, 0, 4, 0, 1, 0, 0, 0, *kind, 0, 0, 0]);
                bytes.extend(next.to_le_bytes());
            }
            count(&bytes, ImageFormat::Tiff)
        };
        assert_eq!((tiff(&[0], 0), tiff(&[0, 2, 2], 0), tiff(&[0, 1, 4, 0], 0)), (1, 3, 2));
        assert_eq!((tiff(&[0, 0], 8), tiff(&[0, 0], 9_999)), (2, 2));
    }

    #[cfg(feature = "avif")]
    #[test]
    fn frames_of_an_avif_sequence_are_the_samples_of_its_track() {
        let boxed = |name: &[u8; 4], content: &[u8]| {
            [(content.len() as u32 + 8).to_be_bytes().as_slice(), name, content].concat()
        };
        let sizes = boxed(b"stsz", &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12]);
        let track = [b"stbl", b"minf", b"mdia", b"trak"].iter().fold(sizes, |inner, name| boxed(name, &inner));
        let movie = boxed(b"moov", &[boxed(b"mvhd", &[0; 4]), track].concat());
        let file = [boxed(b"ftyp", b"avis"), movie].concat();
        assert_eq!((count(&file, ImageFormat::Avif), count(&file[..12], ImageFormat::Avif)), (12, 1));
    }
}
