//! libjpeg itself, for what only it reads as Pillow and OpenCV do.

use std::cell::Cell;
use std::ffi::c_int;
use std::io::{BufRead, Read};
use std::panic::resume_unwind;
use std::ptr;

use mozjpeg::{ColorSpace, Decompress};
use mozjpeg_sys::{jpeg_common_struct, jpeg_error_mgr, msg_parm_union};

use super::jpeg_markers::Header;
use super::{ImageError, Reference};
use crate::guard::guard;

/// The levels, of four inks where the file has four components, else of RGB; and whether libjpeg warned.
///
/// # Errors
/// As [`super::jpeg::decode`].
pub(super) fn decode(bytes: &[u8], header: &Header<'_>, reference: Reference) -> Result<(Vec<u8>, bool), ImageError> {
    let corrupt = |reason: &str| ImageError::Corrupt { format: "JPEG", reason: reason.into() };
    let colors = match header.components.len() {
        1 | 3 => ColorSpace::JCS_RGB,
        4 => ColorSpace::JCS_CMYK,
        count => return Err(ImageError::Unsupported { what: format!("a JPEG of {count} components") }),
    };
    WARNED.set(false);
    let source = Source { rest: bytes, ran_out: &Cell::new(false) };
    let ran_out = source.ran_out;
    // An error of libjpeg unwinds.
    let read = guard(|| {
        let mut decoder = Decompress::builder().with_err(errors()).from_reader(source)?.to_colorspace(colors)?;
        let levels = decoder.read_scanlines::<u8>()?;
        std::io::Result::Ok((levels, [decoder.width(), decoder.height()], decoder))
    });
    if ran_out.get() {
        return Err(ImageError::Truncated { format: "JPEG", reason: "its pixel data have no end".into() });
    }
    let (levels, size, decoder) = match read {
        Ok(Ok(read)) => read,
        Ok(Err(error)) => return Err(corrupt(&error.to_string())),
        Err(_) => return Err(corrupt("libjpeg cannot read it")),
    };
    if size.map(|side| side as u32) != header.size {
        return Err(corrupt("its size is told in two ways"));
    }
    let ended = matches!(guard(|| decoder.finish()), Ok(Ok(())));
    // What lies behind the pixels may reach beyond the end of the file, but may be no marker that libjpeg refuses.
    if !ended && !ran_out.get() && reference == Reference::Pillow {
        return Err(corrupt("a marker that does not belong there follows its pixel data"));
    }
    Ok((levels, WARNED.get()))
}

thread_local! {
    /// Whether libjpeg warned on this thread since it was set.
    static WARNED: Cell<bool> = const { Cell::new(false) };
}

/// Handlers that unwind upon errors and take note of warnings.
fn errors() -> jpeg_error_mgr {
    extern "C-unwind" fn exit(_: &mut jpeg_common_struct) {
        // Past the panic hook: nothing is printed.
        resume_unwind(Box::new("libjpeg"));
    }
    extern "C-unwind" fn emit(_: &mut jpeg_common_struct, level: c_int) {
        if level < 0 {
            WARNED.set(true);
        }
    }
    extern "C-unwind" fn ignore(_: &mut jpeg_common_struct) {}
    jpeg_error_mgr {
        error_exit: Some(exit),
        emit_message: Some(emit),
        output_message: Some(ignore),
        format_message: None,
        reset_error_mgr: Some(ignore),
        msg_code: 0,
        msg_parm: msg_parm_union::default(),
        trace_level: 0,
        num_warnings: 0,
        jpeg_message_table: ptr::null(),
        last_jpeg_message: 0,
        addon_message_table: ptr::null(),
        first_addon_message: 0,
        last_addon_message: 0,
    }
}

/// Bytes that take note of being asked for more than there are.
struct Source<'a> {
    rest: &'a [u8],
    ran_out: &'a Cell<bool>,
}

impl Read for Source<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.rest.read(into)
    }
}

impl BufRead for Source<'_> {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        self.ran_out.set(self.ran_out.get() || self.rest.is_empty());
        Ok(self.rest)
    }

    fn consume(&mut self, count: usize) {
        self.rest = &self.rest[count..];
    }
}
