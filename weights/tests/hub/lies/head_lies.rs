//! Lies in the status, the headers and the way to the file.

use super::liar::{Asked, Sent, honest, raw, status};
use super::{Either, Good, Lie, Refused};

/// The file behind a redirect to this place, where it is.
fn moved(asked: &Asked, location: &str) -> Sent {
    match asked.path.starts_with("/org/") && !asked.path.contains("there") {
        true => status("302 Found").with("Content-Length: 0").with(&format!("Location: {location}")).into(),
        false => honest(asked).into(),
    }
}

fn empty(line: &str) -> Sent {
    status(line).with("Content-Length: 0").into()
}

/// Busy with this wait, then the file.
fn busy(asked: &Asked, wait: &str) -> Sent {
    match asked.number {
        0 => status("429 Too Many Requests").with("Content-Length: 0").with(&format!("Retry-After: {wait}")).into(),
        _ => honest(asked).into(),
    }
}

pub(super) const LIES: &[Lie] = &[
    ("no lie", Good, |asked| honest(asked).into()),
    ("204 without content", Refused("HTTP 204"), |_| empty("204 No Content")),
    ("203 of a proxy", Refused("HTTP 203"), |asked| honest(asked).line("HTTP/1.1 203 Transformed").into()),
    ("300 of choices", Refused("HTTP 300"), |_| empty("300 Multiple Choices")),
    ("304 without a condition", Refused("HTTP 304"), |_| empty("304 Not Modified")),
    ("400", Refused("HTTP 400"), |_| empty("400 Bad Request")),
    ("401", Refused("HF_TOKEN"), |_| empty("401 Unauthorized")),
    ("402", Refused("HTTP 402"), |_| empty("402 Payment Required")),
    ("403", Refused("HF_TOKEN"), |_| empty("403 Forbidden")),
    ("404", Refused("HTTP 404"), |_| empty("404 Not Found")),
    ("407 of a proxy", Refused("HTTP 407"), |_| empty("407 Proxy Authentication Required")),
    ("410", Refused("HTTP 410"), |_| empty("410 Gone")),
    ("416 to the first request", Refused("HTTP 416"), |_| empty("416 Range Not Satisfiable")),
    ("451", Refused("HTTP 451"), |_| empty("451 Unavailable For Legal Reasons")),
    ("500 for good", Refused("HTTP 500"), |_| empty("500 Internal Server Error")),
    ("503, then the file", Good, |asked| match asked.number {
        0 => empty("503 Service Unavailable"),
        _ => honest(asked).into(),
    }),
    ("599", Refused("HTTP 599"), |_| empty("599 Network Connect Timeout")),
    ("999", Refused("HTTP 999"), |_| empty("999 Request Denied")),
    ("status of two digits", Refused("cannot fetch"), |asked| honest(asked).line("HTTP/1.1 20 OK").into()),
    ("status of letters", Refused("cannot fetch"), |asked| honest(asked).line("HTTP/1.1 OK").into()),
    ("another protocol", Refused("cannot fetch"), |_| raw("SSH-2.0-OpenSSH_9.6\r\n")),
    ("a body without a head", Refused("cannot fetch"), |_| raw("<html>hello</html>\r\n\r\n")),
    ("nothing but line ends", Refused("cannot fetch"), |_| raw("\r\n\r\n\r\n\r\n")),
    ("429, at once again", Good, |asked| busy(asked, "0")),
    ("429, in a year", Good, |asked| busy(asked, "31536000")),
    ("429, after the end of time", Good, |asked| busy(asked, "18446744073709551616")),
    ("429, before now", Good, |asked| busy(asked, "-1")),
    ("429, on a day", Good, |asked| busy(asked, "Fri, 31 Dec 2999 23:59:59 GMT")),
    ("429, soon", Good, |asked| busy(asked, "soon")),
    ("429 for good", Refused("HTTP 429"), |_| empty("429 Too Many Requests")),
    ("a redirect to itself", Refused("redirects"), |asked| {
        status("302 Found").with("Content-Length: 0").with(&format!("Location: {}", asked.path)).into()
    }),
    ("a redirect of ever other addresses", Refused("redirects"), |asked| {
        let next = format!("Location: http://{}/{}", asked.host, asked.number);
        status("307 Temporary Redirect").with("Content-Length: 0").with(&next).into()
    }),
    ("a redirect without a place", Refused("redirect to nowhere"), |_| empty("302 Found")),
    ("a redirect to an empty place", Refused("redirect to nowhere"), |asked| moved(asked, "")),
    ("a redirect to ftp", Refused("redirect to nowhere"), |asked| moved(asked, "ftp://127.0.0.1/there")),
    ("a redirect to a file", Refused("redirect to nowhere"), |asked| moved(asked, "file:///etc/hostname")),
    ("a redirect to data", Refused("redirect to nowhere"), |asked| moved(asked, "data:,there")),
    ("a redirect to no host", Refused("no usable answer"), |asked| moved(asked, "http:///there")),
    ("a redirect to a closed port", Refused("cannot fetch"), |asked| moved(asked, "http://127.0.0.1:1/there")),
    ("a redirect to a port beyond all", Refused("127.0.0.1"), |asked| moved(asked, "http://127.0.0.1:99999/there")),
    ("a redirect with a control character", Refused("cannot fetch"), |asked| moved(asked, "/a b\u{7f}there")),
    ("a redirect to a path", Good, |asked| moved(asked, "/there")),
    ("a redirect to a neighbour", Good, |asked| moved(asked, "there")),
    ("a redirect upwards", Good, |asked| moved(asked, "../../../../there")),
    ("a redirect to the same scheme", Good, |asked| moved(asked, &format!("//{}/there", asked.host))),
    ("a redirect in capitals", Good, |asked| moved(asked, &format!("HTTP://{}/there", asked.host))),
    ("a redirect with a fragment", Good, |asked| moved(asked, "/there#part")),
    ("a redirect to a long place", Refused(""), |asked| moved(asked, &format!("/there{}", "x".repeat(100_000)))),
    ("no tag", Good, |asked| honest(asked).without("ETag").into()),
    ("an empty tag", Good, |asked| honest(asked).with("ETag: \"\"").into()),
    ("a weak tag", Good, |asked| honest(asked).with("ETag: W/\"weak\"").into()),
    ("a tag without quotes", Good, |asked| honest(asked).with("ETag: bare").into()),
    ("a tag of a path", Good, |asked| honest(asked).with("ETag: \"../../../../evil\"").into()),
    ("a tag of two dots", Good, |asked| honest(asked).with("ETag: \"..\"").into()),
    ("a tag of an absolute path", Good, |asked| honest(asked).with("ETag: \"/tmp/evil\"").into()),
    ("a tag as partial files are called", Good, |asked| honest(asked).with("ETag: \"a.ghostzoo.incomplete\"").into()),
    ("a tag of 5000 letters", Good, |asked| honest(asked).with(&format!("ETag: \"{}\"", "e".repeat(5000))).into()),
    ("a tag beyond ASCII", Good, |asked| honest(asked).with("ETag: \"\u{fc}\u{202e}\"").into()),
    ("another file's hash as tag", Refused("arrived damaged"), |asked| {
        honest(asked).with(&format!("ETag: \"{}\"", "0".repeat(64))).into()
    }),
    ("another file's hash as linked tag", Refused("arrived damaged"), |asked| {
        honest(asked).with(&format!("X-Linked-Etag: \"{}\"", "f".repeat(64))).into()
    }),
    ("no commit", Good, |asked| honest(asked).without("X-Repo-Commit").into()),
    ("a commit of a path", Good, |asked| honest(asked).with("X-Repo-Commit: ../../../evil").into()),
    ("a commit of an absolute path", Good, |asked| honest(asked).with("X-Repo-Commit: /tmp/evil").into()),
    ("a commit of 10000 letters", Good, |asked| {
        honest(asked).with(&format!("X-Repo-Commit: {}", "c".repeat(10_000))).into()
    }),
    ("a commit beyond ASCII", Good, |asked| honest(asked).with("X-Repo-Commit: \u{e9}").into()),
    ("a linked size of letters", Good, |asked| honest(asked).with("X-Linked-Size: many").into()),
    ("a linked size below zero", Good, |asked| honest(asked).with("X-Linked-Size: -1").into()),
    ("a linked size too small", Refused("more bytes than the announced 1000"), |asked| {
        honest(asked).with("X-Linked-Size: 1000").into()
    }),
    ("a linked size too large", Refused("HTTP 416"), |asked| honest(asked).with("X-Linked-Size: 500000").into()),
    ("a linked size of all there is", Refused("HTTP 416"), |asked| {
        honest(asked).with("X-Linked-Size: 18446744073709551615").into()
    }),
    ("a header of a megabyte", Refused("cannot fetch"), |asked| {
        honest(asked).with(&format!("X-Long: {}", "x".repeat(1 << 20))).into()
    }),
    ("ten thousand headers", Refused("cannot fetch"), |asked| {
        (0..10_000).fold(honest(asked), |reply, i| reply.and(&format!("X-{i}: {i}"))).into()
    }),
    ("headers without end", Refused("cannot fetch"), |_| Sent {
        head: b"HTTP/1.1 200 OK\r\n".to_vec(),
        tail: b"X-More: and more\r\n".repeat(1000),
        times: 1000,
        ..Sent::default()
    }),
    ("a header without a colon", Refused("cannot fetch"), |asked| honest(asked).and("no colon").into()),
    ("a header with a NUL", Refused("cannot fetch"), |asked| honest(asked).and("X-Nul: a\0b").into()),
    ("a header with colours", Good, |asked| honest(asked).and("X-Colour: \t\u{fc}").into()),
    ("the name of another file", Good, |asked| {
        honest(asked).and("Content-Disposition: attachment; filename=\"../../evil\"").into()
    }),
    ("the type of a page", Good, |asked| honest(asked).and("Content-Type: text/html").into()),
    ("an answer before the answer", Either("cannot fetch"), |asked| {
        raw([b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(), Sent::from(honest(asked)).head].concat())
    }),
    ("another answer behind the answer", Good, |asked| {
        raw([Sent::from(honest(asked)).head, b"HTTP/1.1 404 Not Found\r\n\r\n".to_vec()].concat())
    }),
];
