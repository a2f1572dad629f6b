//! A reader of HTTP/1.1 requests that forgives nothing, for what leaves towards the upstream.
//!
//! It stands in for the strictest and the laxest server at once: what it accepts has one meaning
//! for both. So it is written by hand, and shares nothing with the code that it judges nor with
//! the libraries under it. It does not decide what a request should say: that is the tests' part.

/// A request that is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StrictRequest {
    pub(crate) method: String,
    pub(crate) target: String,
    /// In the order in which they came, names as they were spelled.
    pub(crate) fields: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
}

/// How far bytes go.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// They may become a request yet.
    Incomplete,
    /// A request, and how many bytes it is long.
    Whole(StrictRequest, usize),
}

type Reading<T> = Result<T, String>;

impl StrictRequest {
    /// The values of a field, in any case.
    pub(crate) fn values(&self, name: &str) -> Vec<&[u8]> {
        let named = self.fields.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_slice()).collect()
    }
}

/// Reads the first request in there; what is wrong with it, if something is.
pub(crate) fn read(bytes: &[u8]) -> Reading<Progress> {
    let Some((mut request, head)) = read_head(bytes)? else { return Ok(Progress::Incomplete) };
    let rest = &bytes[head..];
    let body = match framing(&request)? {
        Framing::None => Some((Vec::new(), 0)),
        Framing::Length(length) => rest.get(..length).map(|body| (body.to_vec(), length)),
        Framing::Chunked => read_chunks(rest)?,
    };
    let Some((body, length)) = body else { return Ok(Progress::Incomplete) };
    request.body = body;
    Ok(Progress::Whole(request, head + length))
}

fn read_head(bytes: &[u8]) -> Reading<Option<(StrictRequest, usize)>> {
    let Some((line, mut at)) = line(bytes)? else { return Ok(None) };
    let mut request = request_line(line)?;
    loop {
        match self::line(&bytes[at..])? {
            None => return Ok(None),
            Some(([], length)) => return Ok(Some((request, at + length))),
            Some((line, length)) => {
                request.fields.push(field(line)?);
                at += length;
            }
        }
    }
}

/// A line that ends with CRLF and holds no other control character than tabs, and its length with
/// the CRLF. (RFC 9112, section 2.2, without what it forgives.)
fn line(bytes: &[u8]) -> Reading<Option<(&[u8], usize)>> {
    let control = |byte: &u8| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f;
    match bytes.iter().position(control) {
        None => Ok(None),
        Some(end) => match bytes[end..] {
            [b'\r', b'\n', ..] => Ok(Some((&bytes[..end], end + 2))),
            [b'\r'] => Ok(None),
            _ => Err(format!("a control character {:#04x} in a line", bytes[end])),
        },
    }
}

fn request_line(line: &[u8]) -> Reading<StrictRequest> {
    let text = std::str::from_utf8(line).map_err(|_| "a request line beyond ASCII")?;
    let parts: Vec<_> = text.split(' ').collect();
    let [method, target, "HTTP/1.1"] = parts[..] else {
        return Err(format!("no request line: {text:?}"));
    };
    if !is_token(method.as_bytes()) {
        return Err(format!("no method: {method:?}"));
    }
    if !target.starts_with('/') || !target.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!("no path: {target:?}"));
    }
    let (method, target) = (method.to_owned(), target.to_owned());
    Ok(StrictRequest { method, target, fields: Vec::new(), body: Vec::new() })
}

fn field(line: &[u8]) -> Reading<(String, Vec<u8>)> {
    let colon = line.iter().position(|byte| *byte == b':').ok_or("a field without a colon")?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if !is_token(name) {
        return Err(format!("no field name: {:?}", String::from_utf8_lossy(name)));
    }
    let name = String::from_utf8_lossy(name).into_owned();
    Ok((name, value.trim_ascii().to_vec()))
}

enum Framing {
    None,
    Length(usize),
    Chunked,
}

fn framing(request: &StrictRequest) -> Reading<Framing> {
    match (&request.values("content-length")[..], &request.values("transfer-encoding")[..]) {
        ([], []) => Ok(Framing::None),
        ([], [b"chunked"]) => Ok(Framing::Chunked),
        ([length], []) => {
            let text = String::from_utf8_lossy(length);
            let number: usize = text.parse().map_err(|_| format!("no length: {text:?}"))?;
            if number.to_string() == text {
                Ok(Framing::Length(number))
            } else {
                Err(format!("a length in an odd spelling: {text:?}"))
            }
        }
        (lengths, encodings) => Err(format!("framed by {lengths:?} and {encodings:?}")),
    }
}

/// The content, and its length on the wire; sizes without extensions, and no trailers.
fn read_chunks(bytes: &[u8]) -> Reading<Option<(Vec<u8>, usize)>> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Some((line, length)) = line(&bytes[at..])? else { return Ok(None) };
        at += length;
        let text = String::from_utf8_lossy(line);
        if !(1..=8).contains(&line.len()) || !line.iter().all(u8::is_ascii_hexdigit) {
            return Err(format!("no chunk size: {text:?}"));
        }
        let size = usize::from_str_radix(&text, 16).map_err(|error| error.to_string())?;
        if let Some(data) = bytes.get(at..at + size) {
            body.extend_from_slice(data);
            at += size;
        } else {
            return Ok(None);
        }
        match bytes[at..] {
            [b'\r', b'\n', ..] => at += 2,
            [] | [b'\r'] => return Ok(None),
            _ if size == 0 => return Err("trailers".to_owned()),
            _ => return Err("a chunk that does not end where it should".to_owned()),
        }
        if size == 0 {
            return Ok(Some((body, at)));
        }
    }
}

/// RFC 9110, section 5.6.2.
fn is_token(bytes: &[u8]) -> bool {
    const ODD: &[u8] = b"!#$%&'*+-.^_`|~";
    !bytes.is_empty() && bytes.iter().all(|b| b.is_ascii_alphanumeric() || ODD.contains(b))
}

#[test]
fn the_strict_reader_reads_what_is_plain() {
    for (text, method, target, body) in [
        ("GET /a?b HTTP/1.1\r\nHost: h\r\n\r\n", "GET", "/a?b", ""),
        ("POST /a HTTP/1.1\r\nHost: h\r\ncontent-length: 2\r\n\r\n{}", "POST", "/a", "{}"),
        (
            "PUT /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\nA\r\n0123456789\r\n\
             0\r\n\r\n",
            "PUT",
            "/a",
            "{}0123456789",
        ),
    ] {
        let more = format!("{text}GET /next");
        let Progress::Whole(request, length) = read(more.as_bytes()).unwrap() else { panic!() };
        assert_eq!((request.method.as_str(), request.target.as_str()), (method, target));
        assert_eq!((request.body.as_slice(), length), (body.as_bytes(), text.len()));
        for end in 0..text.len() {
            assert_eq!(read(&text.as_bytes()[..end]), Ok(Progress::Incomplete), "{end} of {text}");
        }
    }
}

#[test]
fn the_strict_reader_refuses_what_has_a_second_meaning() {
    for head in [
        "GET /a HTTP/1.1\nHost: h\r\n\r\n",
        "\r\nGET /a HTTP/1.1\r\n\r\n",
        "GET  /a HTTP/1.1\r\n\r\n",
        "GET /a HTTP/1.0\r\n\r\n",
        "GET http://h/a HTTP/1.1\r\n\r\n",
        "GET /a HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
        "GET /a HTTP/1.1\r\nA: b\rc\r\n\r\n",
        "GET /a HTTP/1.1\r\nA: b\0\r\n\r\n",
        "GET /a HTTP/1.1\r\nA : b\r\n\r\n",
        "GET /a HTTP/1.1\r\n: b\r\n\r\n",
        "GET /a HTTP/1.1\r\nA: b\r\n\n",
        "POST /a HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
        "POST /a HTTP/1.1\r\nContent-Length: 01\r\n\r\na",
        "POST /a HTTP/1.1\r\nContent-Length: +1\r\n\r\na",
        "POST /a HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /a HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    ] {
        assert!(read(head.as_bytes()).is_err(), "{head:?}");
    }
    for chunks in [
        "2;a\r\n{}\r\n0\r\n\r\n",
        "2\n{}\r\n0\r\n\r\n",
        "1\r\n{}\r\n0\r\n\r\n",
        "0x2\r\n{}\r\n0\r\n\r\n",
        "2\r\n{}\n0\r\n\r\n",
        "\r\n",
        "000000002\r\n{}\r\n",
        "0\r\nAppKey: a\r\n\r\n",
    ] {
        let text = format!("POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        assert!(read(text.as_bytes()).is_err(), "{chunks:?}");
    }
}
