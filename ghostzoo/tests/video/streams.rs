use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use ghostzoo::video::{FrameSource, FrameSources, SourceEvent, VideoError, VideoInput, VideoOptions};

use crate::has_ffmpeg;

/// JPEGs of 64x48 whose grey levels are their numbers times seven. A comment makes them as long as usual ones: a stream that breaks
/// off within the first two kilobytes is none to ffmpeg.
fn jpegs(count: usize) -> Vec<Vec<u8>> {
    let filter = format!("color=black:s=64x48:r=25:d={},geq=lum='16+6*N':cb=128:cr=128", count as f64 / 25.);
    let output = Command::new("ffmpeg")
        .args(["-loglevel", "error", "-nostdin", "-f", "lavfi", "-i", &filter])
        .args(["-pix_fmt", "yuvj420p", "-q:v", "1", "-f", "image2pipe", "-c:v", "mjpeg", "-"])
        .output()
        .unwrap();
    let all = output.stdout;
    let starts: Vec<usize> =
        all.windows(3).enumerate().filter(|(_, w)| w == b"\xff\xd8\xff").map(|(at, _)| at).collect();
    let ends = starts.iter().skip(1).copied().chain([all.len()]);
    let comment = [b"\xff\xfe\x0f\xa2".as_slice(), &[b' '; 4000]].concat();
    let jpeg = |(start, end): (&usize, usize)| [b"\xff\xd8", comment.as_slice(), &all[*start + 2..end]].concat();
    let jpegs: Vec<Vec<u8>> = starts.iter().zip(ends).map(jpeg).collect();
    assert_eq!(jpegs.len(), count);
    jpegs
}

/// Which of [`jpegs`] an image is, by its full-range grey.
fn number(image: &ghostzoo::RgbImage) -> usize {
    (usize::from(image.get_pixel(32, 24)[0]) + 3) / 7
}

/// Serves one request after another on a port of this machine: `answer` has the connection behind the request.
fn serve(answer: impl Fn(usize, &mut TcpStream) + Send + 'static) -> (String, Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, asked) = channel();
    std::thread::spawn(move || {
        for (count, stream) in listener.incoming().enumerate() {
            let Ok(mut stream) = stream else { return };
            let (mut request, mut byte) = (Vec::new(), [0]);
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count > 0) {
                request.push(byte[0]);
            }
            let _ = sender.send(());
            answer(count, &mut stream);
        }
    });
    (format!("http://{address}/live"), asked)
}

fn begin(stream: &mut TcpStream) {
    let _ = stream.write_all(
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: multipart/x-mixed-replace; boundary=next\r\n\r\n",
    );
}

fn send(stream: &mut TcpStream, jpeg: &[u8]) -> bool {
    let head = format!("--next\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n", jpeg.len());
    stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(jpeg))
        .and_then(|()| stream.write_all(b"\r\n"))
        .is_ok()
}

fn options() -> VideoOptions {
    VideoOptions::new().timeout(Duration::from_secs(10)).reconnects(3, Duration::from_millis(20))
}

#[test]
fn a_stream_that_drops_three_times_is_followed_to_its_end() {
    if !has_ffmpeg() {
        return;
    }
    let images = jpegs(20);
    let (address, _asked) = serve(move |count, stream| {
        let Some(part) = images.chunks(5).nth(count) else {
            let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
            return;
        };
        begin(stream);
        part.iter().all(|jpeg| send(stream, jpeg));
    });
    let mut source = FrameSource::open(&VideoInput::parse(&address), &options().stream_buffer(true)).unwrap();
    assert!(source.info().unwrap().is_live);
    let mut seen = Vec::new();
    let mut times = Vec::new();
    for frame in source.by_ref() {
        let frame = frame.unwrap();
        seen.push(number(&frame.image));
        times.push(frame.time_s);
    }
    assert_eq!(seen, (0..20).collect::<Vec<_>>());
    assert!(times.is_sorted(), "{times:?}");
    let notes = source.take_notes();
    assert_eq!(notes.iter().filter(|note| note.contains("broke off")).count(), 4, "{notes:?}");
    assert!(notes.last().unwrap().contains("over"), "{notes:?}");
    assert_eq!(source.skipped(), 0);
}

#[test]
fn a_stream_that_does_not_come_back_is_lost() {
    if !has_ffmpeg() {
        return;
    }
    let images = jpegs(3);
    let (address, _asked) = serve(move |count, stream| {
        if count == 0 {
            begin(stream);
            images.iter().all(|jpeg| send(stream, jpeg));
        }
    });
    let source = FrameSource::open(
        &VideoInput::parse(&address),
        &options().stream_buffer(true).reconnects(2, Duration::from_millis(10)),
    );
    let frames: Vec<_> = source.unwrap().collect();
    assert_eq!(frames.len(), 4);
    let error = frames[3].as_ref().expect_err("it is lost");
    assert!(matches!(error, VideoError::Lost { frames: 3, tries: 2, .. }), "{error}");
}

#[test]
fn a_stream_that_stalls_is_given_up_after_the_time_out() {
    if !has_ffmpeg() {
        return;
    }
    let images = jpegs(3);
    for sent in [0, 3] {
        let images = images.clone();
        let (address, _asked) = serve(move |_, stream| {
            begin(stream);
            images[..sent].iter().all(|jpeg| send(stream, jpeg));
            // Until the other end goes away.
            let _ = stream.read(&mut [0]);
        });
        let start = Instant::now();
        let options = options().timeout(Duration::from_secs(1)).reconnects(0, Duration::ZERO).stream_buffer(true);
        let last = match FrameSource::open(&VideoInput::parse(&address), &options) {
            Ok(source) => source.last().unwrap().expect_err("it stalls"),
            Err(error) => error,
        };
        assert!(matches!(last, VideoError::Stalled { seconds: 1, .. }), "{last}");
        assert!(start.elapsed() < Duration::from_secs(20));
    }
}

#[test]
fn a_live_source_gives_the_newest_frame_and_counts_the_others() {
    if !has_ffmpeg() {
        return;
    }
    let images = jpegs(30);
    let (address, _asked) = serve(move |_, stream| {
        begin(stream);
        images.iter().all(|jpeg| {
            std::thread::sleep(Duration::from_millis(20));
            send(stream, jpeg)
        });
        let _ = stream.read(&mut [0]);
    });
    let mut source = FrameSource::open(&VideoInput::parse(&address), &options()).unwrap();
    assert!(source.next().unwrap().is_ok());
    // All are sent, but that ffmpeg keeps one until it knows where it ends.
    let start = Instant::now();
    while source.skipped() < 26 && start.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let second = source.next().unwrap().unwrap();
    assert!(number(&second.image) >= 26, "{} of {} skipped", number(&second.image), source.skipped());
    assert_eq!(second.index, 1);
}

#[test]
fn what_cannot_be_reached_is_said_at_once_without_the_password() {
    if !has_ffmpeg() {
        return;
    }
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for scheme in ["http", "rtsp", "tcp"] {
        let input = VideoInput::parse(format!("{scheme}://me:secret@127.0.0.1:{port}/live"));
        let error = FrameSource::open(&input, &options()).expect_err("nobody listens").to_string();
        assert!(error.starts_with("cannot be reached: ") && error.contains("refused"), "{error}");
        assert!(!error.contains("secret") && !input.name().contains("secret"), "{error}");
    }
}

#[test]
fn several_sources_are_read_side_by_side_and_one_that_fails_stops_no_other() {
    if !has_ffmpeg() {
        return;
    }
    let images = jpegs(6);
    let serve = || {
        let images = images.clone();
        serve(move |count, stream| match count {
            0 => {
                begin(stream);
                images.iter().all(|jpeg| send(stream, jpeg));
            }
            _ => drop(stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")),
        })
    };
    let ((one, _asked), (two, _asked_too)) = (serve(), serve());
    let inputs = [one.as_str(), "4000000", &two, "none.mp4"].map(VideoInput::parse);
    let mut sources = FrameSources::start(&inputs, &options().stream_buffer(true));
    let (mut counts, mut ends) = ([0; 4], vec![None; 4]);
    loop {
        let events = sources.round();
        if events.is_empty() {
            break;
        }
        for (source, event) in events {
            match event {
                SourceEvent::Frame(frame) => {
                    assert_eq!(number(&frame.image), counts[source]);
                    counts[source] += 1;
                }
                SourceEvent::End(end) => ends[source] = Some(end),
                _ => {}
            }
        }
    }
    assert_eq!(counts, [6, 0, 6, 0]);
    assert_eq!((&ends[0], &ends[2], &ends[3]), (&Some(Ok(())), &Some(Ok(())), &Some(Err(VideoError::NoFile))));
    assert!(matches!(ends[1], Some(Err(_))), "{:?}", ends[1]);
}
