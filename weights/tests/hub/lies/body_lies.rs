//! Lies in the length, the range, the bytes and the connection.

use std::time::Duration;

use super::super::body;
use super::liar::{Asked, Reply, Sent, honest, raw};
use super::{Broken, Good, Lie, Refused};

const PAGE: &[u8] = b"<!doctype html><title>Sign in</title>";

/// The first 150000 bytes; then, to whoever wants the rest, what `lie` makes of it.
fn after_a_break(asked: &Asked, lie: fn(Reply) -> Reply) -> Sent {
    match asked.number {
        0 => honest(asked).cut(150_000).into(),
        _ => lie(honest(asked)).into(),
    }
}

/// In chunks, with this after the last one.
fn chunked(asked: &Asked, chunks: &[u8]) -> Sent {
    raw([honest(asked).without("Content-Length").with("Transfer-Encoding: chunked").head(), chunks.to_vec()].concat())
}

fn chunk(size: &str, content: &[u8]) -> Vec<u8> {
    [size.as_bytes(), b"\r\n", content, b"\r\n"].concat()
}

fn whole_chunk() -> Vec<u8> {
    chunk(&format!("{:x}", body().len()), &body())
}

pub(super) const LIES: &[Lie] = &[
    ("no length", Good, |asked| honest(asked).without("Content-Length").into()),
    ("a length too small", Refused("arrived damaged"), |asked| honest(asked).with("Content-Length: 1000").into()),
    ("a length of nothing", Refused("arrived damaged"), |asked| honest(asked).with("Content-Length: 0").into()),
    ("a length of nothing, no hash", Refused("sent nothing in place of"), |asked| {
        honest(asked).with("Content-Length: 0").with("ETag: \"tag\"").into()
    }),
    ("a length too small, no hash", Refused("1000 of the 400000 bytes"), |asked| {
        honest(asked).with("Content-Length: 1000").with("ETag: \"tag\"").into()
    }),
    ("a length too large", Refused("HTTP 416"), |asked| honest(asked).with("Content-Length: 500000").into()),
    ("a length of half of all there is", Refused("HTTP 416"), |asked| {
        honest(asked).with("Content-Length: 9223372036854775807").into()
    }),
    ("a length beyond all", Refused(""), |asked| honest(asked).with("Content-Length: 99999999999999999999999").into()),
    ("a length below zero", Refused(""), |asked| honest(asked).with("Content-Length: -5").into()),
    ("a length of letters", Refused(""), |asked| honest(asked).with("Content-Length: many").into()),
    ("two lengths", Refused(""), |asked| honest(asked).and("Content-Length: 7").into()),
    ("chunks", Good, |asked| chunked(asked, &[whole_chunk(), chunk("0", b"")].concat())),
    ("chunks with an extension and a trailer", Good, |asked| {
        let first = chunk(&format!("{:x};x=y", body().len()), &body());
        chunked(asked, &[first, b"0\r\nX-Trailer: a\r\n\r\n".to_vec()].concat())
    }),
    ("chunks without an end", Broken(""), |asked| chunked(asked, &whole_chunk())),
    ("a chunk that is cut", Broken("connection"), |asked| chunked(asked, &whole_chunk()[..1000])),
    ("a chunk of letters", Refused("connection"), |asked| chunked(asked, &chunk("zz", &body()))),
    ("a chunk of all there is", Refused("HTTP 416"), |asked| chunked(asked, &chunk("ffffffffffffffff", &body()))),
    ("a chunk beyond all", Refused("connection"), |asked| chunked(asked, &chunk("fffffffffffffffff0", &body()))),
    ("a chunk below zero", Refused("connection"), |asked| chunked(asked, &chunk("-1", &body()))),
    ("chunks of another file", Refused("arrived damaged"), |asked| {
        chunked(asked, &[chunk("4", b"evil"), chunk("0", b"")].concat())
    }),
    ("a length and chunks", Good, |asked| {
        let head = honest(asked).with("Transfer-Encoding: chunked").head();
        raw([head, whole_chunk(), chunk("0", b"")].concat())
    }),
    ("a break", Good, |asked| after_a_break(asked, |reply| reply)),
    ("a range that is ignored", Good, |asked| match asked.number {
        0 => honest(asked).cut(150_000).into(),
        _ => honest(&Asked { from: None, path: String::new(), host: String::new(), number: 1 }).into(),
    }),
    ("a part without a range", Refused("the range is ``"), |asked| {
        after_a_break(asked, |reply| reply.without("Content-Range"))
    }),
    ("a part of letters", Refused("the range is `bytes many`"), |asked| {
        after_a_break(asked, |reply| reply.with("Content-Range: bytes many"))
    }),
    ("a part from beyond all", Refused("the range is"), |asked| {
        after_a_break(asked, |reply| reply.with("Content-Range: bytes 99999999999999999999999-1/2"))
    }),
    ("a part that begins elsewhere", Refused("bytes from 150000 on were asked for"), |asked| {
        after_a_break(asked, |reply| reply.with("Content-Range: bytes 100000-399999/400000"))
    }),
    ("a part that ends before it begins", Good, |asked| {
        after_a_break(asked, |reply| reply.with("Content-Range: bytes 150000-7/400000"))
    }),
    ("a part of a longer file", Refused("changed during the download"), |asked| {
        after_a_break(asked, |reply| reply.with("Content-Range: bytes 150000-399999/400001"))
    }),
    ("a part of a shorter file", Refused("changed during the download"), |asked| {
        after_a_break(asked, |reply| reply.with("Content-Range: bytes 150000-399999/300000"))
    }),
    ("a part of a file of any length", Good, |asked| {
        after_a_break(asked, |reply| reply.with("Content-Range: bytes 150000-399999/*"))
    }),
    ("a part of another tag", Refused("changed during the download"), |asked| {
        after_a_break(asked, |reply| reply.with("ETag: \"other\""))
    }),
    ("another part than it says", Refused("arrived damaged"), |asked| {
        after_a_break(asked, |reply| reply.body(&body()[..250_000]))
    }),
    ("a part with more behind it", Good, |asked| {
        after_a_break(asked, |reply| reply.body(&[&body()[150_000..], b"more"].concat()))
    }),
    ("a part that is longer than the file", Refused("more bytes than the announced 400000"), |asked| {
        after_a_break(asked, |reply| reply.content(&[&body()[150_000..], &[0; 100_000]].concat()))
    }),
    ("a part that is too short", Broken("200000 of 400000 bytes"), |asked| {
        after_a_break(asked, |reply| reply.content(&body()[150_000..200_000]))
    }),
    ("many parts in one", Refused("the range is ``"), |asked| {
        after_a_break(asked, |reply| {
            reply.without("Content-Range").and("Content-Type: multipart/byteranges; boundary=x")
        })
    }),
    ("416 to the second part", Refused("HTTP 416"), |asked| match asked.number {
        0 => honest(asked).cut(150_000).into(),
        _ => honest(&Asked { from: Some(400_000), path: String::new(), host: String::new(), number: 1 }).into(),
    }),
    ("a part that nobody wanted", Refused("bytes from 0 on were asked for"), |asked| {
        honest(asked).line("HTTP/1.1 206 Partial").with("Content-Range: bytes 7-399999/400000").into()
    }),
    ("all as a part that nobody wanted", Good, |asked| {
        honest(asked).line("HTTP/1.1 206 Partial").with("Content-Range: bytes 0-399999/400000").into()
    }),
    ("a break at every request", Broken("connection broke"), |asked| {
        let cut = if asked.number == 0 { 150_000 } else { 10 };
        honest(asked).cut(cut).into()
    }),
    ("more than the length", Good, |asked| honest(asked).body(&[body(), vec![7; 1000]].concat()).into()),
    ("other bytes of the same length", Refused("arrived damaged"), |asked| {
        honest(asked).body(&vec![7; 400_000]).into()
    }),
    ("a page", Refused("a web page"), |asked| honest(asked).with("ETag: \"page\"").content(PAGE).into()),
    ("a page without a tag", Refused("a web page"), |asked| honest(asked).without("ETag").content(PAGE).into()),
    ("a page without a length", Refused("a web page"), |asked| {
        honest(asked).without("ETag").without("Content-Length").body(PAGE).into()
    }),
    ("a page for the rest", Refused("arrived damaged"), |asked| {
        after_a_break(asked, |reply| reply.body(&PAGE.repeat(7000)[..250_000]))
    }),
    ("half of the file, no hash", Refused("200000 of the 400000 bytes"), |asked| {
        honest(asked).with("ETag: \"half\"").content(&body()[..200_000]).into()
    }),
    ("nothing at all", Refused("sent nothing"), |asked| {
        honest(asked).without("ETag").without("Content-Length").body(b"").into()
    }),
    ("gzip", Refused("`gzip` encoding"), |asked| honest(asked).and("Content-Encoding: gzip").into()),
    ("two encodings", Refused("encoding"), |asked| honest(asked).and("Content-Encoding: br, gzip").into()),
    ("an encoding of control characters", Refused("encoding"), |asked| {
        honest(asked).and("Content-Encoding: \tevil\tname").into()
    }),
    ("an encoding of 5000 letters", Refused("the body is in"), |asked| {
        honest(asked).and(&format!("Content-Encoding: {}", "z".repeat(5000))).into()
    }),
    ("no encoding, as it says", Good, |asked| honest(asked).and("Content-Encoding: identity").into()),
    ("closed at once", Refused("cannot fetch"), |_| raw("")),
    ("closed in the status", Refused("cannot fetch"), |_| raw("HTTP/1.1 2")),
    ("closed in a header", Refused("cannot fetch"), |asked| raw(&honest(asked).head()[..40])),
    ("closed behind the headers", Refused("connection"), |asked| honest(asked).cut(0).into()),
    ("silent", Refused("no data in time"), |_| Sent { times: 1, wait: Duration::from_secs(10), ..Sent::default() }),
    ("silent in the headers", Refused("no data in time"), |_| Sent {
        head: b"HTTP/1.1 200 OK\r\nX-".to_vec(),
        times: 1,
        wait: Duration::from_secs(10),
        ..Sent::default()
    }),
    ("silent in the body", Broken("no data in time"), |asked| Sent {
        head: [honest(asked).head(), body()[..10].to_vec()].concat(),
        times: 1,
        wait: Duration::from_secs(10),
        ..Sent::default()
    }),
    ("headers that drip", Refused("no data in time"), |_| Sent {
        head: b"HTTP/1.1 200 OK\r\n".to_vec(),
        tail: b"X-Slow: y\r\n".to_vec(),
        times: 1000,
        wait: Duration::from_millis(50),
    }),
    ("a body that drips", Broken("bytes arrived in 0.6 s"), |asked| honest(asked).pace(100).into()),
    ("a body without end", Refused("no length was announced"), |asked| Sent {
        head: honest(asked).without("Content-Length").without("ETag").head(),
        tail: vec![0; 1 << 16],
        times: 10_000,
        ..Sent::default()
    }),
    ("a body without end in chunks", Refused("no length was announced"), |asked| Sent {
        head: honest(asked).without("Content-Length").and("Transfer-Encoding: chunked").head(),
        tail: chunk("10000", &[0; 1 << 16]),
        times: 10_000,
        ..Sent::default()
    }),
];
