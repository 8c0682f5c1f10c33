//! Frames and their times in a NUT stream of raw video, the one format of ffmpeg's that pipes carry and that has exact times.
//!
//! Source: "NUT Open Container Format", version 3 of the stream. Only what precedes and holds frames is read: checksums are not
//! compared, as a pipe does not change bytes, and an index is passed over.

use std::io::{self, ErrorKind, Read};

const ID: &[u8] = b"nut/multimedia container\0";
const MAIN: u64 = 0x4E4D_7A56_1F5F_04AD;
const STREAM: u64 = 0x4E53_1140_5BF2_F9DB;
const SYNCPOINT: u64 = 0x4E4B_E4AD_EECA_4569;
/// The largest packet that is no frame: headers and the index of a day.
const MAX_PACKET: u64 = 64 << 20;

/// Flags of a frame.
const CODED_PTS: u64 = 1 << 3;
const STREAM_ID: u64 = 1 << 4;
const SIZE_MSB: u64 = 1 << 5;
const CHECKSUM: u64 = 1 << 6;
const RESERVED: u64 = 1 << 7;
const SIDE_DATA: u64 = 1 << 8;
const HEADER_IDX: u64 = 1 << 10;
const MATCH_TIME: u64 = 1 << 11;
const CODED: u64 = 1 << 12;
const INVALID: u64 = 1 << 13;

/// What a frame's first byte stands for.
#[derive(Debug, Clone, Copy)]
struct FrameCode {
    flags: u64,
    stream: u64,
    size_mul: u64,
    size_lsb: u64,
    pts_delta: i64,
    reserved: u64,
    header: u64,
}

/// The stream behind its headers.
#[derive(Debug)]
pub(super) struct NutReader<R> {
    stream: R,
    codes: Vec<FrameCode>,
    /// Bytes that frames begin with and do not repeat.
    headers: Vec<Vec<u8>>,
    /// Seconds of a tick: numerator and denominator.
    time_base: (u64, u64),
    msb_shift: u32,
    last_pts: i64,
    /// `[width, height]` of every frame.
    pub(super) size: [u64; 2],
}

impl<R: Read> NutReader<R> {
    /// Reads the headers. `None` where the stream ends before it begins.
    pub(super) fn open(mut stream: R) -> io::Result<Option<Self>> {
        let mut id = [0; ID.len()];
        match stream.read(&mut id[..1])? {
            0 => return Ok(None),
            _ => stream.read_exact(&mut id[1..])?,
        }
        if id != ID {
            return Err(invalid("it is no NUT stream"));
        }
        let code =
            FrameCode { flags: INVALID, stream: 0, size_mul: 1, size_lsb: 0, pts_delta: 0, reserved: 0, header: 0 };
        let mut reader = Self {
            stream,
            codes: vec![code; 256],
            headers: vec![Vec::new()],
            time_base: (0, 1),
            msb_shift: 0,
            last_pts: 0,
            size: [0; 2],
        };
        let main = reader.packet_of(MAIN)?;
        reader.main(&mut main.as_slice())?;
        let header = reader.packet_of(STREAM)?;
        reader.stream_header(&mut header.as_slice())?;
        Ok(Some(reader))
    }

    /// The next frame's time in seconds and its bytes in `pixels`; `None` at the end.
    pub(super) fn frame(&mut self, pixels: &mut [u8]) -> io::Result<Option<f64>> {
        loop {
            let mut first = [0];
            if self.stream.read(&mut first)? == 0 {
                return Ok(None);
            }
            if first[0] != b'N' {
                return self.body(first[0], pixels).map(Some);
            }
            let mut rest = [0; 8];
            rest[0] = first[0];
            self.stream.read_exact(&mut rest[1..])?;
            let packet = self.packet()?;
            if u64::from_be_bytes(rest) == SYNCPOINT {
                let ticks = vlc(&mut packet.as_slice())?;
                // One time base: the number is in its ticks.
                self.last_pts = signed(ticks)?;
            }
        }
    }

    fn body(&mut self, code: u8, pixels: &mut [u8]) -> io::Result<f64> {
        let FrameCode { mut flags, mut stream, size_mul, size_lsb, pts_delta, mut reserved, mut header } =
            self.codes[usize::from(code)];
        let from = &mut self.stream;
        if flags & CODED != 0 {
            flags ^= vlc(from)?;
        }
        if flags & (INVALID | SIDE_DATA) != 0 {
            return Err(invalid("a frame has an unknown header"));
        }
        if flags & STREAM_ID != 0 {
            stream = vlc(from)?;
        }
        let mut pts = self.last_pts.wrapping_add(pts_delta);
        if flags & CODED_PTS != 0 {
            let coded = signed(vlc(from)?)?;
            let whole = 1i64 << self.msb_shift;
            pts = if coded < whole {
                let least = self.last_pts.wrapping_sub((whole - 1) / 2);
                (coded.wrapping_sub(least) & (whole - 1)).wrapping_add(least)
            } else {
                coded - whole
            };
        }
        let mut size = size_lsb;
        if flags & SIZE_MSB != 0 {
            size = size_mul.checked_mul(vlc(from)?).and_then(|size| size.checked_add(size_lsb)).unwrap_or(u64::MAX);
        }
        if flags & MATCH_TIME != 0 {
            vlc(from)?;
        }
        if flags & HEADER_IDX != 0 {
            header = vlc(from)?;
        }
        if flags & RESERVED != 0 {
            reserved = vlc(from)?;
        }
        for _ in 0..reserved {
            vlc(from)?;
        }
        if flags & CHECKSUM != 0 {
            from.read_exact(&mut [0; 4])?;
        }
        if size != pixels.len() as u64 || stream != 0 {
            return Err(invalid(format!("a frame of {size} bytes, where {} are expected", pixels.len())));
        }
        // What is left out of a frame counts in its size, and large frames leave out nothing.
        let left_out = if size > 4096 { &[] } else { self.headers.get(header as usize).map_or(&[][..], Vec::as_slice) };
        if left_out.len() > pixels.len() {
            return Err(invalid("a frame is shorter than its header"));
        }
        let (start, rest) = pixels.split_at_mut(left_out.len());
        start.copy_from_slice(left_out);
        from.read_exact(rest)?;
        self.last_pts = pts;
        let (num, den) = self.time_base;
        Ok(pts as f64 * num as f64 / den as f64)
    }

    /// The next packet of a kind; others before it are passed over.
    fn packet_of(&mut self, kind: u64) -> io::Result<Vec<u8>> {
        loop {
            let mut code = [0; 8];
            self.stream.read_exact(&mut code)?;
            let packet = self.packet()?;
            match u64::from_be_bytes(code) {
                found if found == kind => return Ok(packet),
                found if found >> 56 != u64::from(b'N') => return Err(invalid("a header is missing")),
                _ => {}
            }
        }
    }

    /// The bytes of a packet behind its startcode.
    fn packet(&mut self) -> io::Result<Vec<u8>> {
        let length = vlc(&mut self.stream)?;
        if length > MAX_PACKET {
            return Err(invalid(format!("a header of {length} bytes")));
        }
        if length > 4096 {
            self.stream.read_exact(&mut [0; 4])?;
        }
        let mut packet = Vec::new();
        (&mut self.stream).take(length).read_to_end(&mut packet)?;
        if (packet.len() as u64) < length {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(packet)
    }

    fn main(&mut self, from: &mut &[u8]) -> io::Result<()> {
        let version = vlc(from)?;
        if version != 3 {
            return Err(invalid(format!("version {version} of NUT")));
        }
        let (streams, _, bases) = (vlc(from)?, vlc(from)?, vlc(from)?);
        if (streams, bases) != (1, 1) {
            return Err(invalid(format!("{streams} streams, where one is expected")));
        }
        self.time_base = (vlc(from)?, vlc(from)?.max(1));
        let (mut pts_delta, mut size_mul, mut stream, mut header, mut at) = (0, 1, 0, 0, 0);
        while at < 256 {
            let (flags, fields) = (vlc(from)?, vlc(from)?);
            if fields > 0 {
                pts_delta = zigzag(vlc(from)?)?;
            }
            if fields > 1 {
                size_mul = vlc(from)?;
            }
            if fields > 2 {
                stream = vlc(from)?;
            }
            let size = if fields > 3 { vlc(from)? } else { 0 };
            let reserved = if fields > 4 { vlc(from)? } else { 0 };
            let count = if fields > 5 { vlc(from)? } else { size_mul.saturating_sub(size) };
            if fields > 6 {
                vlc(from)?;
            }
            if fields > 7 {
                header = vlc(from)?;
            }
            for _ in 8..fields {
                vlc(from)?;
            }
            let mut given = 0;
            while given < count && at < 256 {
                // A startcode's first byte is no frame's.
                if at != usize::from(b'N') {
                    let size_lsb = size.saturating_add(given);
                    self.codes[at] = FrameCode { flags, stream, size_mul, size_lsb, pts_delta, reserved, header };
                    given += 1;
                }
                at += 1;
            }
        }
        for _ in 0..vlc(from)? {
            self.headers.push(bytes(from)?);
        }
        Ok(())
    }

    fn stream_header(&mut self, from: &mut &[u8]) -> io::Result<()> {
        let (_id, class, _fourcc, _base) = (vlc(from)?, vlc(from)?, bytes(from)?, vlc(from)?);
        if class != 0 {
            return Err(invalid("it is no stream of frames"));
        }
        self.msb_shift =
            u32::try_from(vlc(from)?).ok().filter(|shift| *shift < 16).ok_or_else(|| invalid("its times"))?;
        let (_distance, _delay, _flags, _specific) = (vlc(from)?, vlc(from)?, vlc(from)?, bytes(from)?);
        self.size = [vlc(from)?, vlc(from)?];
        Ok(())
    }
}

fn invalid(reason: impl Into<String>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, reason.into())
}

/// A number: seven bits a byte, the highest first, with a bit that says whether more follow.
fn vlc(from: &mut impl Read) -> io::Result<u64> {
    let mut value = 0u64;
    loop {
        let mut byte = [0];
        from.read_exact(&mut byte)?;
        if value >> 57 != 0 {
            return Err(invalid("a number of more than 64 bits"));
        }
        value = value << 7 | u64::from(byte[0] & 0x7f);
        if byte[0] & 0x80 == 0 {
            return Ok(value);
        }
    }
}

/// A number that may be negative: 0, 1, -1, 2, -2, …
fn zigzag(value: u64) -> io::Result<i64> {
    let half = signed(value.saturating_add(1) >> 1)?;
    Ok(if value & 1 == 1 { half } else { -half })
}

fn signed(value: u64) -> io::Result<i64> {
    i64::try_from(value).map_err(|_| invalid("a number of more than 63 bits"))
}

/// Bytes behind their count.
fn bytes(from: &mut &[u8]) -> io::Result<Vec<u8>> {
    let length = usize::try_from(vlc(from)?).unwrap_or(usize::MAX);
    let (bytes, rest) = from.split_at_checked(length).ok_or(ErrorKind::UnexpectedEof)?;
    *from = rest;
    Ok(bytes.to_vec())
}

#[cfg(test)]
#[path = "nut_tests.rs"]
mod tests;
