//! Chunked bodies (RFC 9112, section 7.1). They are passed on as they come, so when one turns out
//! to be malformed a part of the request may be on its way: it must never become whole.

use super::case::{Case, Cases, End, Meant, Pace, Reply, SMUGGLED, post, shown};

const BROKEN: Reply = Reply::Broken(400, "body_broken");
const GOOD: &str = "2\r\n{}\r\n";

pub(super) fn cases() -> Cases {
    let mut cases = Cases::default();
    sizes(&mut cases);
    extensions(&mut cases);
    ends(&mut cases);
    trailers(&mut cases);
    early_ends(&mut cases);
    under_way(&mut cases);
    limits(&mut cases);
    cases
}

fn chunked(rest: impl AsRef<[u8]>) -> Vec<u8> {
    post("Transfer-Encoding: chunked\r\n", rest)
}

fn passed(cases: &mut Cases, name: impl Into<String>, rest: impl AsRef<[u8]>, body: &str) {
    let meant = Meant::post(body).with("transfer-encoding", "chunked");
    cases.passed(name, chunked([rest.as_ref(), SMUGGLED.as_bytes()].concat()), meant);
}

fn broken(cases: &mut Cases, name: impl Into<String>, rest: impl AsRef<[u8]>) -> &mut Case {
    cases.add(name, chunked(rest), [BROKEN])
}

fn sizes(cases: &mut Cases) {
    for size in [
        &b"-1"[..],
        b"-2",
        b"+2",
        b"0x2",
        b"x2",
        b"g",
        b"2h",
        b" 2",
        b"2 ",
        b"\t2",
        b"2\t",
        b"2 ;a",
        b"",
        b";a",
        b"2,",
        b"2.0",
        b"2_0",
        b"\"2\"",
        b"{2}",
        b"%32",
        b"#2",
        b"2\0",
        b"\x0b2",
        b"2\r",
        b"\r2",
        b"\xd9\xa2",
        b"0000000000000002",
        b"00000000000000002",
        b"ffffffffffffffff",
        b"8000000000000000",
        b"10000000000000002", // 2 in 64 bits
        b"fffffffffffffffffffffffffffffffe",
    ] {
        let rest = [size, b"\r\n{}\r\n0\r\n\r\n", SMUGGLED.as_bytes()].concat();
        broken(cases, format!("a size of {}", shown(size)), rest);
    }
    for (size, body) in [
        ("2", "{}"),
        ("02", "{}"),
        ("000000000000002", "{}"),
        ("a", "0123456789"),
        ("A", "0123456789"),
        ("0A", "0123456789"),
    ] {
        let rest = format!("{size}\r\n{body}\r\n0\r\n\r\n");
        passed(cases, format!("a good size of {size}"), rest, body);
    }
    passed(cases, "a last chunk of 000", format!("{GOOD}000\r\n\r\n"), "{}");
    passed(cases, "no chunk but the last", "0\r\n\r\n", "");
    passed(cases, "a chunk a byte", "1\r\n{\r\n1\r\n}\r\n0\r\n\r\n", "{}");
}

fn extensions(cases: &mut Cases) {
    for extension in
        ["a", "a=b", "a=\"b\"", "a=\"b;c\"", "a=\"b\\\"c\"", "", ";", "\ta = b", "a;b;c", "0"]
    {
        let rest = format!("2;{extension}\r\n{{}}\r\n0;{extension}\r\n\r\n");
        passed(cases, format!("an extension {extension:?}"), rest, "{}");
    }
    let beyond = b"2;a=\xc3\xbc\xff\r\n{}\r\n0\r\n\r\n";
    passed(cases, "an extension beyond ASCII", beyond, "{}");
    for length in [253, 254] {
        let rest = format!("2{};\r\n{{}}\r\n0\r\n\r\n", ";".repeat(length - 2));
        passed(cases, format!("a size line of {} bytes", length + 2), rest, "{}");
    }
    for length in [257, 300, 20_000] {
        let rest = format!("2{}\r\n{{}}\r\n0\r\n\r\n", ";".repeat(length - 3));
        broken(cases, format!("a size line of {length} bytes"), rest);
    }
    for control in (0..b' ').chain([0x7f]).filter(|byte| *byte != b'\t') {
        let rest = [b"2;a", &[control][..], b"b\r\n{}\r\n0\r\n\r\n"].concat();
        broken(cases, format!("an extension with {control:#04x}"), rest);
    }
}

fn ends(cases: &mut Cases) {
    for rest in [
        "2\n{}\r\n0\r\n\r\n",
        "2\r\n{}\n0\r\n\r\n",
        "2\r\n{}0\r\n\r\n",
        "2\r\n{}\r0\r\n\r\n",
        "2\r\n{}\r\r\n0\r\n\r\n",
        "2\r\n{}\n\r0\r\n\r\n",
        "2\r{}\r\n0\r\n\r\n",
        "2\r\n\r\n{}\r\n0\r\n\r\n",
        "2\r\n{}\r\n\r\n0\r\n\r\n",
        "2\r\n{}\r\n0\n\r\n",
        "2\r\n{}\r\n0\r\n\n",
        "2\r\n{}\r\n0\n\n",
        "2\r\n{}\r\n0\r\n\r\r\n",
        "2\n{}\n0\n\n",
        "1\r\n{}\r\n0\r\n\r\n",
        "3\r\n{}\r\n0\r\n\r\n",
        "0\r\n{}\r\n\r\n",
    ] {
        let bytes = format!("{rest}{SMUGGLED}");
        broken(cases, format!("the chunks {}", shown(rest)), bytes);
    }
    // The next size is looked for in what is left over.
    let rest = format!("2\r\n{{}}{SMUGGLED}");
    broken(cases, "a chunk that is followed by a request", rest);
    broken(cases, "only CRs", "2\r{}\r0\r\r").end(End::Goes);
}

fn trailers(cases: &mut Cases) {
    for line in [
        "X-Trailer: spoofed",
        "AppKey: spoofed",
        "app_key: spoofed",
        "Authorization: spoofed",
        "Content-Length: 5",
        "Transfer-Encoding: chunked",
        "Host: spoofed",
        "Content-Type: text/spoofed",
        "Connection: appkey",
        "X-Empty:",
    ] {
        let rest = format!("{GOOD}0\r\n{line}\r\n\r\n");
        passed(cases, format!("a trailer {line}"), rest, "{}");
    }
    let rest = format!("{GOOD}0\r\n{}\r\n", "AppKey: spoofed\r\n".repeat(100));
    passed(cases, "a hundred trailers", rest, "{}");
    let announced = post(
        "Trailer: AppKey\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n",
        format!("{GOOD}0\r\nAppKey: spoofed\r\n\r\n"),
    );
    cases.passed("a trailer that was announced", announced, Meant::post("{}"));
    for line in [
        &b"no colon"[..],
        b": no name",
        b" X-A: folded",
        b"X-A : b",
        b"X A: b",
        b"X-A: b\r\n c",
        b"X-A: b\0",
        b"X-A: b\rc",
        b"X-A: b\nX-B: c",
        b"X(A): b",
        b"X-\xc3\xbc: b",
    ] {
        let rest = [GOOD.as_bytes(), b"0\r\n", line, b"\r\n\r\n", SMUGGLED.as_bytes()].concat();
        broken(cases, format!("a trailer {}", shown(line)), rest);
    }
    broken(cases, "a trailer that ends in LF", format!("{GOOD}0\r\nX-A: b\n\r\n"));
    broken(cases, "trailers that end in LF", format!("{GOOD}0\r\nX-A: b\r\n\n"));
    let many = format!("{GOOD}0\r\n{}\r\n", "A: b\r\n".repeat(101));
    broken(cases, "a hundred and one trailers", many);
    let endless = format!("{GOOD}0\r\nX-A: {}", "a".repeat(100_000));
    broken(cases, "a trailer without end", endless);
}

/// The caller goes, at every place in a short body.
fn early_ends(cases: &mut Cases) {
    let whole = format!("{GOOD}0\r\n\r\n");
    for end in 0..whole.len() {
        let name = format!("the end after {:?}", &whole[..end]);
        broken(cases, name, &whole[..end]).end(End::Goes);
    }
    broken(cases, "the end within an extension", "2;a").end(End::Goes);
    broken(cases, "the end within a trailer", format!("{GOOD}0\r\nX-A")).end(End::Goes);
    broken(cases, "the end behind a trailer", format!("{GOOD}0\r\nX-A: b\r\n")).end(End::Goes);
}

/// The upstream has the head and a chunk when it goes wrong.
fn under_way(cases: &mut Cases) {
    for rest in [
        "x\r\n{}\r\n0\r\n\r\n",
        "-1\r\n\r\n0\r\n\r\n",
        "\r\n0\r\n\r\n",
        "2\r\n{}0\r\n\r\n",
        "0\n\n",
        "0\r\nno colon\r\n\r\n",
        "0\r\nAppKey : spoofed\r\n\r\n",
        "0\r\n GET /api/x HTTP/1.1\r\n\r\n",
        "ffffffffffffffff\r\n",
    ] {
        let name = format!("under way, {}", shown(rest));
        let first = chunked(GOOD).len();
        let case = broken(cases, name, format!("{GOOD}{rest}{SMUGGLED}"));
        case.pace(Pace::OnceUnderWay(first));
    }
    let first = chunked(GOOD).len();
    for rest in ["", "2", "2\r\n{", "2\r\n{}\r\n", "0\r\n", "0\r\n\r"] {
        let case =
            broken(cases, format!("under way, the end after {rest:?}"), format!("{GOOD}{rest}"));
        case.pace(Pace::OnceUnderWay(first)).end(End::Goes);
    }
}

fn limits(cases: &mut Cases) {
    let large = Reply::Broken(413, "body_too_large");
    let body = "a".repeat(1024 * 1024 + 1);
    let one = chunked(format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len()));
    cases.add("one chunk over the limit", one, [large.clone()]);
    let half = "a".repeat(512 * 1024 + 1);
    let half = format!("{:x}\r\n{half}\r\n", half.len());
    cases.add("two chunks over the limit", chunked(format!("{half}{half}0\r\n\r\n")), [large]);
}
