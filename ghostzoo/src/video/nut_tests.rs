use super::*;

/// Three frames of 4x2 pixels: `ffmpeg -f lavfi -i testsrc=s=4x2:r=30000/1001:d=0.2 -map 0:V:0 -map_metadata -1 -vf
/// "select=not(mod(n\,2))" -fps_mode passthrough -enc_time_base 1/1000000 -c:v rawvideo -pix_fmt rgb24 -flush_packets 1 -f nut`
/// of ffmpeg 5.1.9.
const STREAM: &str = "\
    6e75742f6d756c74696d6564696120636f6e7461696e6572004e4d7a561f5f04ad48030181ff7f0101bd8440c00006000000\
    000001a00002010128010029002101012002018179c00006000000000001060300000104000001b602fffa02fffb02fffc02\
    fffd2b6fc9b84e5311405bf2f9db1800000452474218000ebd844000000004020101008b959f9a4e49ab68b596ba78200000\
    00000107656e636f646572020d4c61766635392e32372e3130300d1f10d64e49ab68b596ba7842010000000207656e636f64\
    657202164c61766335392e33372e31303020726177766964656f0c725f6672616d655f72617465020a33303030302f313030\
    317a5754d34e4be4adeeca456906000000000000030018000000ff000000ff00ffff00ff00007fff0000ffff8000ff038589\
    2d18000000ff000000ff00ffff00ff11006eff0000eeff9100ff0389925b18000000ff000000ff00ffff00ff22005dff0000\
    ddffa200ff4e58dd672f23e64e1288925b010f03000000000000001b3ede3204";

fn stream() -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&STREAM[at..at + 2], 16).expect("two digits");
    (0..STREAM.len()).step_by(2).map(byte).collect()
}

/// The size, and the time and the pixels of each frame.
type Stream = ([u64; 2], Vec<(f64, Vec<u8>)>);

fn frames(stream: &[u8]) -> io::Result<Stream> {
    let Some(mut reader) = NutReader::open(stream)? else { return Ok(([0; 2], Vec::new())) };
    let mut found = Vec::new();
    let mut pixels = vec![0; 24];
    while let Some(time) = reader.frame(&mut pixels)? {
        found.push((time, pixels.clone()));
    }
    Ok((reader.size, found))
}

#[test]
fn frames_have_their_times_to_the_microsecond() {
    let (size, found) = frames(&stream()).expect("a stream");
    assert_eq!(size, [4, 2]);
    // As ffprobe prints them.
    assert_eq!(found.iter().map(|(time, _)| *time).collect::<Vec<_>>(), [0., 0.066733, 0.133467]);
    assert_eq!(&found[0].1[..12], [0, 0, 0, 0xff, 0, 0, 0, 0xff, 0, 0xff, 0xff, 0]);
    assert_eq!(&found[2].1[12..16], [0xff, 0x22, 0, 0x5d]);
}

#[test]
fn a_stream_that_ends_before_it_begins_is_empty() {
    assert!(NutReader::open(&b""[..]).expect("no error").is_none());
    assert!(NutReader::open(&b"RIFF and more than the name of the format"[..]).is_err());
}

#[test]
fn no_damage_is_more_than_an_error() {
    let whole = stream();
    for end in 0..whole.len() {
        let found = frames(&whole[..end]).map(|(_, found)| found.len());
        assert!(found.map_or(true, |count| count <= 3), "{end}");
    }
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << bit;
            // Whatever comes of it, it comes.
            let _ = frames(&damaged);
        }
    }
}

#[test]
fn numbers_are_read_as_the_format_writes_them() {
    let number = |bytes: &[u8]| vlc(&mut &*bytes);
    assert_eq!(number(&[0x7f]).expect("a number"), 127);
    assert_eq!(number(&[0x81, 0x00]).expect("a number"), 128);
    assert!(number(&[0xff; 12]).is_err() && number(&[0x81]).is_err());
    assert_eq!([0, 1, 2, 3, 4].map(|value| zigzag(value).expect("a number")), [0, 1, -1, 2, -2]);
}
