//! A Hub that sends any bytes in answer, at any pace.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::super::{body, hash};

/// What was asked.
pub(super) struct Asked {
    /// How many requests came before it.
    pub(super) number: usize,
    pub(super) path: String,
    /// The first byte that is wanted, where a range is.
    pub(super) from: Option<usize>,
    /// Where this Hub is, `127.0.0.1:port`.
    pub(super) host: String,
}

/// What is sent: whole at the beginning, then the tail as often as it can be, with a wait before each.
#[derive(Default)]
pub(super) struct Sent {
    pub(super) head: Vec<u8>,
    pub(super) tail: Vec<u8>,
    pub(super) times: usize,
    pub(super) wait: Duration,
}

/// An answer that is the Hub's, until it is changed.
pub(super) struct Reply {
    status: String,
    headers: Vec<String>,
    body: Vec<u8>,
    cut: Option<usize>,
    pace: Option<Duration>,
}

/// An answer of this status line, without headers.
pub(super) fn status(line: &str) -> Reply {
    Reply { status: format!("HTTP/1.1 {line}"), headers: Vec::new(), body: Vec::new(), cut: None, pace: None }
}

/// What the Hub answers: the file, from the wanted byte on.
pub(super) fn honest(asked: &Asked) -> Reply {
    let (body, start) = (body(), asked.from.unwrap_or(0));
    let total = body.len();
    let reply = match asked.from {
        None => status("200 OK"),
        Some(start) if start >= total => return status("416 Range Not Satisfiable").with("Content-Length: 0"),
        Some(start) => {
            status("206 Partial Content").with(&format!("Content-Range: bytes {start}-{}/{total}", total - 1))
        }
    };
    let reply = reply.with(&format!("ETag: \"{}\"", hash(&body))).with("X-Repo-Commit: c0ffee");
    reply.with(&format!("Content-Length: {}", total - start)).body(&body[start..])
}

impl Reply {
    /// With a header more, in place of those of its name.
    pub(super) fn with(self, header: &str) -> Self {
        let name = header.split(':').next().unwrap_or_default().to_owned();
        self.without(&name).and(header)
    }

    /// With a header more, beside those of its name.
    pub(super) fn and(mut self, header: &str) -> Self {
        self.headers.push(header.to_owned());
        self
    }

    pub(super) fn without(mut self, name: &str) -> Self {
        self.headers
            .retain(|header| !header.to_ascii_lowercase().starts_with(&format!("{}:", name.to_ascii_lowercase())));
        self
    }

    pub(super) fn line(mut self, line: &str) -> Self {
        self.status = line.to_owned();
        self
    }

    /// With this body, whose length is still what was announced.
    pub(super) fn body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self
    }

    /// With this body, and its length.
    pub(super) fn content(self, body: &[u8]) -> Self {
        self.with(&format!("Content-Length: {}", body.len())).body(body)
    }

    /// Closes after this many bytes of the body.
    pub(super) fn cut(mut self, at: usize) -> Self {
        self.cut = Some(at);
        self
    }

    /// A kilobyte of the body after each such wait.
    pub(super) fn pace(mut self, milliseconds: u64) -> Self {
        self.pace = Some(Duration::from_millis(milliseconds));
        self
    }

    pub(super) fn head(&self) -> Vec<u8> {
        let headers: String = self.headers.iter().map(|header| format!("{header}\r\n")).collect();
        format!("{}\r\nConnection: close\r\n{headers}\r\n", self.status).into_bytes()
    }
}

impl From<Reply> for Sent {
    fn from(reply: Reply) -> Self {
        let body = &reply.body[..reply.cut.unwrap_or(reply.body.len())];
        match reply.pace {
            None => raw([&reply.head(), body].concat()),
            Some(wait) => Self { head: reply.head(), tail: body[..1024].to_vec(), times: body.len() / 1024, wait },
        }
    }
}

/// These bytes, then the end of the connection.
pub(super) fn raw(bytes: impl Into<Vec<u8>>) -> Sent {
    Sent { head: bytes.into(), ..Sent::default() }
}

/// Longest that one connection is served: the client gives up long before.
const PATIENCE: Duration = Duration::from_secs(15);

/// Starts a Hub that answers by `script`; its address.
pub(super) fn start(script: fn(&Asked) -> Sent) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let host = listener.local_addr().expect("bound").to_string();
    let address = format!("http://{host}");
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().flatten().enumerate() {
            let host = host.clone();
            std::thread::spawn(move || serve(stream, number, host, script));
        }
    });
    address
}

fn serve(mut stream: TcpStream, number: usize, host: String, script: fn(&Asked) -> Sent) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines().map_while(Result::ok);
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let range = lines.take_while(|line| !line.is_empty()).find_map(|line| {
        let range = line.to_ascii_lowercase().strip_prefix("range: bytes=")?.strip_suffix('-')?.to_owned();
        range.parse().ok()
    });
    let Sent { head, tail, times, wait } = script(&Asked { number, path, from: range, host });
    let begun = Instant::now();
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(&head).ok()?;
    for _ in 0..times {
        std::thread::sleep(wait);
        stream.write_all(&tail).ok()?;
        if begun.elapsed() > PATIENCE {
            break;
        }
    }
    Some(())
}
