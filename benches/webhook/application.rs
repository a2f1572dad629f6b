//! A small application: a thread a connection, and 200 for what is an event as the proxy hands it
//! over. What else comes is answered 500, which ends the bench.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;

/// A running application; it ends with the process.
pub(crate) struct Application {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    taken: Arc<AtomicU64>,
}

impl Application {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, taken) = (listener.local_addr().unwrap(), Arc::new(AtomicU64::new(0)));
        let counter = Arc::clone(&taken);
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let taken = Arc::clone(&counter);
                thread::Builder::new()
                    .stack_size(256 * 1024)
                    .spawn(move || serve(socket, &taken))
                    .unwrap();
            }
        });
        Self { address, taken }
    }

    /// How many events it took so far.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Relaxed)
    }
}

fn serve(mut socket: TcpStream, taken: &AtomicU64) {
    socket.set_nodelay(true).unwrap();
    let mut buffer = vec![0; 16 * 1024];
    let mut filled = 0;
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut request = httparse::Request::new(&mut headers);
        let head = request.parse(&buffer[..filled]).unwrap();
        if let httparse::Status::Complete(head) = head {
            let value = |name: &str| {
                let mut all = request.headers.iter();
                let found = all.find(|header| header.name.eq_ignore_ascii_case(name))?;
                std::str::from_utf8(found.value).ok()
            };
            let end = head + value("content-length").unwrap().parse::<usize>().unwrap();
            if filled >= end {
                let right = value("x-innopaas-app") == Some("shop")
                    && value("x-innopaas-event-id").is_some()
                    && value("authorization").is_none();
                buffer.copy_within(end..filled, 0);
                filled -= end;
                taken.fetch_add(u64::from(right), Relaxed);
                let status = if right { "200 OK" } else { "500 Wrong" };
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok");
                if socket.write_all(answer.as_bytes()).is_err() {
                    return;
                }
                continue;
            }
        }
        match socket.read(&mut buffer[filled..]) {
            Ok(read) if read > 0 => filled += read,
            _ => return,
        }
    }
}
