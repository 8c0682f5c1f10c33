//! A Hub on loopback: an HTTP/1.1 server that answers by a script and notes what it was asked.
#![allow(dead_code, unreachable_pub, reason = "each test program that includes this file uses a part of it")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// One request: its path, and its headers by lower-case name.
#[derive(Debug, Clone)]
pub struct Request {
    pub path: String,
    pub headers: HashMap<String, String>,
}

/// One answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Close the connection after this many bytes of the body.
    pub cut: Option<usize>,
    /// Announce this length instead of the body's.
    pub length: Option<usize>,
    /// Announce no length: the body ends with the connection.
    pub unannounced: bool,
    /// Wait before each kilobyte.
    pub pace: Duration,
}

impl Answer {
    pub fn new(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
            cut: None,
            length: None,
            unannounced: false,
            pace: Duration::ZERO,
        }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self
    }
}

/// What a server does: the number of the request and the request, to an answer.
pub type Script = dyn Fn(usize, &Request) -> Answer + Send + Sync;

/// A running server; its thread ends with the process.
pub struct Server {
    pub address: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub fn start(script: impl Fn(usize, &Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = format!("http://{}", listener.local_addr().expect("bound"));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (script, noted): (Arc<Script>, _) = (Arc::new(script), requests.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (script, noted) = (script.clone(), noted.clone());
                std::thread::spawn(move || serve(stream, &*script, &noted));
            }
        });
        Self { address, requests }
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("no thread panics with the lock").clone()
    }
}

fn serve(stream: TcpStream, script: &Script, noted: &Mutex<Vec<Request>>) {
    let Ok(reading) = stream.try_clone() else { return };
    let mut lines = BufReader::new(reading).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let headers = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_once(':').map(|(k, v)| (k.to_ascii_lowercase(), v.trim().to_owned())))
        .collect();
    let request = Request { path, headers };
    let number = {
        let mut noted = noted.lock().expect("no thread panics with the lock");
        noted.push(request.clone());
        noted.len() - 1
    };
    let _ = answer(stream, script(number, &request));
}

fn answer(mut stream: TcpStream, answer: Answer) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} Scripted\r\nConnection: close\r\n", answer.status);
    let length = answer.length.unwrap_or(answer.body.len());
    if !answer.unannounced {
        head += &format!("Content-Length: {length}\r\n");
    }
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    let sent = &answer.body[..answer.cut.unwrap_or(answer.body.len())];
    for part in sent.chunks(1024) {
        std::thread::sleep(answer.pace);
        stream.write_all(part)?;
        stream.flush()?;
    }
    Ok(())
}

/// Answers like the Hub: the file's ETag and commit, ranges honoured.
pub fn hub_file(request: &Request, body: &[u8], etag: &str) -> Answer {
    let answer = |status| Answer::new(status).header("ETag", &format!("\"{etag}\"")).header("X-Repo-Commit", "c0ffee");
    let start =
        request.headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    match start {
        None => answer(200).body(body),
        Some(start) if start < body.len() => answer(206)
            .header("Content-Range", &format!("bytes {start}-{}/{}", body.len() - 1, body.len()))
            .body(&body[start..]),
        Some(_) => answer(416),
    }
}
