//! The files of the pair under every mishap, brought by a swap of the whole directory or written
//! one by one into a plain one. Whatever comes: no call ever leaves with anything but a pair that
//! was written as one, calls go on being answered with the last good one, what is wrong is said
//! without a word of the content, and a good pair ends it.
//!
//! The upstream reads every head itself: the sandbox would refuse a pair that it does not know,
//! and the proxy may send a refused call again.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use innopaas_proxy::sandbox::Pair;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::load::Load;
use crate::support::mount::set_mode;
use crate::support::raw_upstream::{self, Tls};
use crate::support::strict_request::{Progress, StrictRequest, read};
use crate::support::{Call, Mount, Proxy, RawUpstream, Setup, canary, eventually};

const APP_KEY: &str = "app-key";
const AUTHORIZATION: &str = "authorization";
/// In every bad content, to be searched for.
const JUNK: &str = "CanaryJunk";
const POLL: Duration = Duration::from_millis(20);

/// A mishap by its name: what it does to the file whose good value is given, and what is said.
type Mishap = (&'static str, fn(&Path, &str), &'static str);

const MISHAPS: [Mishap; 17] = [
    ("cut off", |file, good| write(file, &good[..good.len() / 2]), "cut off"),
    ("one byte short", |file, good| write(file, &good[..good.len() - 1]), "cut off"),
    ("empty", |file, _| write(file, ""), "it is empty"),
    ("a newline only", |file, _| write(file, "\n"), "it is empty"),
    ("CRLF only", |file, _| write(file, "\r\n"), "it is empty"),
    ("two lines", |file, good| write(file, format!("{JUNK}\r\n{good}\r\n")), "at position 10"),
    ("a newline too many", |file, _| write(file, format!("{JUNK}\n\n")), "at position 10"),
    ("NUL", |file, good| write(file, format!("{JUNK}\0{good}")), "at position 10"),
    ("non-ASCII", |file, good| write(file, format!("{JUNK}é{good}")), "at position 10"),
    ("a byte order mark", |file, _| write(file, format!("\u{feff}{JUNK}")), "at position 0"),
    ("a scheme", |file, _| write(file, format!("Bearer {JUNK}")), "authentication scheme"),
    ("1 MB", |file, _| write(file, JUNK.repeat(100_000)), "longer than 4096 bytes"),
    ("unreadable", make_unreadable, "cannot be read: permission denied"),
    ("a directory", |file, _| fs::create_dir(file).unwrap(), "is not a regular file"),
    ("missing", |_, _| {}, "there is no such file"),
    ("a pipe", |file, _| make_pipe(file), "is not a regular file"),
    ("a dangling link", |file, _| symlink("nowhere", file).unwrap(), "there is no such file"),
];

#[test]
fn whatever_is_swapped_in_for_the_app_key_the_last_good_pair_stays_in_use() {
    suffer_everything(Delivery::Swapped, APP_KEY);
}

#[test]
fn whatever_is_swapped_in_for_the_token_the_last_good_pair_stays_in_use() {
    suffer_everything(Delivery::Swapped, AUTHORIZATION);
}

#[test]
fn whatever_is_written_in_place_of_the_app_key_the_last_good_pair_stays_in_use() {
    suffer_everything(Delivery::Plain, APP_KEY);
}

#[test]
fn whatever_is_written_in_place_of_the_token_the_last_good_pair_stays_in_use() {
    suffer_everything(Delivery::Plain, AUTHORIZATION);
}

fn suffer_everything(delivery: Delivery, name: &str) {
    let upstream = Upstream::start();
    let mut good = pair(0);
    let proxy = start(&upstream, delivery.mount(&good), POLL);
    for (number, (what, make, words)) in (1..).zip(MISHAPS) {
        let failed = failed_reloads(&proxy);
        delivery.bring(&proxy.mount, &good, name, make);
        assert_told(&proxy, what, name, words);
        eventually(&format!("{what} is counted"), || failed_reloads(&proxy) > failed);
        for _ in 0..3 {
            assert_eq!(proxy.call(Call::sms()).status, 200, "{what}");
        }
        assert_eq!(upstream.take(), vec![good.clone(); 3], "{what}");

        let next = pair(number);
        // Of a writer who is late with the second file the first may be taken for complete, beside
        // a token that was good.
        let late = delivery.heal(&proxy.mount, &next) > POLL / 2;
        let between = (late && matches!(delivery, Delivery::Plain) && name == APP_KEY)
            .then(|| Pair::new(next.app_key(), good.authorization()));
        eventually(&format!("{what} is over"), || {
            assert_eq!(proxy.call(Call::sms()).status, 200, "{what}");
            let sent = upstream.take();
            let expected =
                |pair| [Some(&good), Some(&next), between.as_ref()].contains(&Some(pair));
            assert!(sent.iter().all(expected), "{what}: {sent:?}");
            sent.last() == Some(&next)
        });
        assert_eq!((problem(&proxy), bad_files(&proxy)), (Value::Null, 0), "{what}");
        good = next;
    }
    assert_nothing_shown(&proxy);
}

#[test]
fn pairs_that_are_swapped_every_10_ms_with_junk_between_are_never_mixed() {
    const LONG: Duration = Duration::from_secs(5);
    // A file that is missing would hide one that is only looked for in a folder already removed; a
    // byte that is missing is noticed beside the very pair that is in use, which is not known here.
    let junk = MISHAPS
        .iter()
        .filter(|(what, _, words)| *what != "one byte short" && *words != "there is no such file");
    let mut junk = junk.cycle();
    let upstream = Upstream::start();
    let proxy = start(&upstream, Mount::of(&pair(0)), POLL);
    let load = Load::start(proxy.listen, 4);
    let begin = Instant::now();
    // Between two steps of a swap are microseconds, which the polls alone would seldom meet.
    let pid = Pid::from_raw(proxy.pid().cast_signed()).unwrap();
    let often = std::thread::spawn(move || {
        while begin.elapsed() < LONG {
            kill_process(pid, Signal::HUP).unwrap();
            std::thread::park_timeout(Duration::from_micros(200));
        }
    });
    let mut number = 0;
    while begin.elapsed() < LONG {
        number += 1;
        if number % 3 == 0 {
            let (_, make, _) = junk.next().unwrap();
            let name = if number % 2 == 0 { APP_KEY } else { AUTHORIZATION };
            Delivery::Swapped.bring(&proxy.mount, &pair(number), name, *make);
        } else {
            proxy.mount.swap_in(&pair(number));
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    often.join().unwrap();
    let last = pair(number + 1);
    proxy.mount.swap_in(&last);
    eventually("the last pair is in use", || generation_in_use_is(&proxy, &upstream, &last));
    let tally = load.stop();
    assert_eq!(tally.failed, 0, "{:?}", tally.bad);
    let loaded = proxy.metric(r#"innopaas_proxy_credential_generation{pair="primary"}"#);
    let failed = failed_reloads(&proxy);
    println!("{number} swaps, {loaded} loaded, {failed} failed, {} calls", tally.calls());
    assert!(number > 50 && loaded > 10 && failed > 5 && tally.calls() > 100);
    eventually("all is well", || problem(&proxy).is_null());
    for gone in ["there is no such file", "mount the Secret there"] {
        let said = proxy.output().lines().find(|line| line.contains(gone)).map(str::to_owned);
        assert_eq!(said, None, "a swap is no mishap");
    }
    assert_nothing_shown(&proxy);
}

#[test]
fn a_plain_directory_that_is_written_every_10_ms_is_not_read_until_that_ends() {
    const LONG: Duration = Duration::from_secs(5);
    write_under_load(|directory, pace| {
        let (begin, mut number) = (Instant::now(), 0);
        while begin.elapsed() < LONG {
            number += 1;
            put_pair(directory, &pair(number));
            pace.pause();
        }
        pair(number)
    });
}

#[test]
fn a_half_written_file_is_never_used() {
    write_under_load(|directory, pace| {
        // No beginning of the one in use, which would be known as cut off.
        let next = Pair::new("NextKeyAAAAAAAAA", "NEXTTOKENAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
        for (name, value) in [(APP_KEY, next.app_key()), (AUTHORIZATION, next.authorization())] {
            let mut file = fs::File::create(directory.join(name)).unwrap();
            for byte in value.bytes() {
                pace.pause();
                file.write_all(&[byte]).unwrap();
            }
        }
        next
    });
}

/// Has a plain directory written to while calls run, without a pause as long as a poll: all of it
/// leaves with the old pair, and what is sent afterwards with the last one.
fn write_under_load(write: impl Fn(&Path, &mut Pace) -> Pair) {
    const LONG_POLL: Duration = Duration::from_millis(500);
    for _ in 0..5 {
        let upstream = Upstream::start();
        let old = pair(0);
        let proxy = start(&upstream, Delivery::Plain.mount(&old), LONG_POLL);
        let load = Load::start(proxy.listen, 4);
        let mut pace = Pace { last: Instant::now(), longest: Duration::ZERO };
        let last = write(proxy.mount.path(), &mut pace);
        let sent = upstream.take();
        if pace.longest > LONG_POLL / 2 {
            continue; // a machine so busy proves nothing
        }
        assert!(sent.len() > 100 && sent.iter().all(|pair| *pair == old), "{}", sent.len());
        eventually("the last pair is in use", || {
            let sent = upstream.take();
            assert!(sent.iter().all(|pair| [&old, &last].contains(&pair)), "{sent:?}");
            sent.last() == Some(&last)
        });
        let tally = load.stop();
        assert_eq!(tally.failed, 0, "{:?}", tally.bad);
        return;
    }
    panic!("the writer was held up for longer than it may pause, again and again");
}

/// Keeps note of how long the writer really paused.
struct Pace {
    last: Instant,
    longest: Duration,
}

impl Pace {
    fn pause(&mut self) {
        std::thread::park_timeout(Duration::from_millis(10));
        self.longest = self.longest.max(self.last.elapsed());
        self.last = Instant::now();
    }
}

#[test]
fn a_pair_that_lies_in_a_plain_directory_is_used_when_the_old_one_is_refused() {
    let setup = Setup::new().mount(Delivery::Plain.mount(&canary::pair()));
    let (proxy, sandbox) = setup.set("credentials.poll=1h").start();
    eventually("the pair is in use", || proxy.admin("/readyz").status == 200);
    assert_eq!(proxy.call(Call::sms()).status, 200);
    let new = pair(1);
    put_pair(proxy.mount.path(), &new);
    let written = proxy.mount.path().join(AUTHORIZATION).metadata().unwrap().ctime();
    eventually("the files are old", || {
        // The date of a change is known to the second.
        SystemTime::now()
            >= SystemTime::UNIX_EPOCH + Duration::from_secs(written.cast_unsigned() + 2)
    });
    sandbox.set_pair(new);
    assert_eq!(proxy.call(Call::sms()).status, 200);
    let calls = sandbox.calls();
    assert_eq!((calls.accepted, calls.refused, calls.duplicates), (2, 1, 1));
    let repeats = r#"innopaas_proxy_refusal_repeats_total{with="newer"}"#;
    assert_eq!(proxy.metric(repeats), 1);
}

#[test]
fn a_mount_that_goes_and_comes_back_is_the_same_generation() {
    let upstream = Upstream::start();
    let proxy = start(&upstream, Mount::of(&pair(0)), POLL);
    let data = proxy.mount.path().join("..data");
    let folder = fs::canonicalize(&data).unwrap();
    set_mode(&folder, 0o000);
    assert_told(&proxy, "closed", APP_KEY, "cannot be read: permission denied");
    set_mode(&folder, 0o755);
    eventually("it is open again", || problem(&proxy).is_null());
    fs::remove_file(data).unwrap();
    assert_told(&proxy, "gone", APP_KEY, "there is no such file");
    assert_eq!(proxy.call(Call::sms()).status, 200);
    proxy.mount.swap_in(&pair(0));
    eventually("it is back", || problem(&proxy).is_null());
    assert_eq!(proxy.metric(r#"innopaas_proxy_credential_generation{pair="primary"}"#), 1);
    assert_eq!(upstream.take(), [pair(0)]);
}

#[test]
fn a_trailing_line_end_is_not_part_of_a_secret() {
    let upstream = Upstream::start();
    let mount = Mount::empty();
    let (app_key, token) = (format!("{}\n", canary::APP_KEY), format!("{}\r\n", canary::TOKEN));
    mount.swap_in_files(&[(APP_KEY, &app_key), (AUTHORIZATION, &token)]);
    let proxy = start(&upstream, mount, POLL);
    assert_eq!(proxy.call(Call::sms()).status, 200);
    assert_eq!(upstream.take(), [canary::pair()]);
}

/// How the files come.
#[derive(Clone, Copy)]
enum Delivery {
    Swapped,
    Plain,
}

impl Delivery {
    fn mount(self, pair: &Pair) -> Mount {
        let mount = Mount::empty();
        self.heal(&mount, pair);
        mount
    }

    /// Breaks one file of a pair.
    fn bring(self, mount: &Mount, pair: &Pair, name: &str, make: fn(&Path, &str)) {
        let value = if name == APP_KEY { pair.app_key() } else { pair.authorization() };
        let put = |folder: &Path| {
            remove(&folder.join(name));
            make(&folder.join(name), value);
        };
        match self {
            Self::Plain => put(mount.path()),
            Self::Swapped => mount.swap(|folder| {
                put_pair(folder, pair);
                put(folder);
            }),
        }
    }

    /// Puts a pair in place; how long that took.
    fn heal(self, mount: &Mount, pair: &Pair) -> Duration {
        match self {
            Self::Plain => put_pair(mount.path(), pair),
            Self::Swapped => {
                mount.swap_in(pair);
                Duration::ZERO
            }
        }
    }
}

/// Writes one file after the other; how long that took.
fn put_pair(folder: &Path, pair: &Pair) -> Duration {
    let begin = Instant::now();
    for (name, value) in [(APP_KEY, pair.app_key()), (AUTHORIZATION, pair.authorization())] {
        let file = folder.join(name);
        if !file.symlink_metadata().is_ok_and(|old| old.is_file() && old.mode() & 0o200 != 0) {
            remove(&file);
        }
        write(&file, value);
    }
    begin.elapsed()
}

fn write(file: &Path, content: impl AsRef<[u8]>) {
    fs::write(file, content).unwrap();
    set_mode(file, 0o644);
}

fn remove(file: &Path) {
    match file.symlink_metadata() {
        Ok(old) if old.is_dir() => fs::remove_dir(file).unwrap(),
        Ok(_) => fs::remove_file(file).unwrap(),
        Err(_) => {}
    }
}

fn make_unreadable(file: &Path, good: &str) {
    fs::write(file, good).unwrap();
    set_mode(file, 0o000);
}

fn make_pipe(file: &Path) {
    mknodat(CWD, file, FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap();
}

fn pair(number: u32) -> Pair {
    canary::marked_pair(format!("{number:05}"))
}

/// Reads as somebody whom a file's mode keeps out, and has read the files once.
fn start(upstream: &Upstream, mount: Mount, poll: Duration) -> Proxy {
    let poll = format!("credentials.poll={}ms", poll.as_millis());
    let proxy =
        Setup::new().mount(mount).set(&poll).by_nobody().start_before_raw(&upstream.listener);
    eventually("the pair is in use", || proxy.admin("/readyz").status == 200);
    proxy
}

/// The file is named, as is what is wrong, to whoever asks; and nothing else.
fn assert_told(proxy: &Proxy, what: &str, name: &str, words: &str) {
    let file = format!("{}: ", proxy.mount.path().join(name).display());
    eventually(&format!("{what}: {words} of {name}, not {}", problem(proxy)), || {
        problem(proxy).as_str().is_some_and(|text| text.starts_with(&file) && text.contains(words))
    });
    let ready = proxy.admin("/readyz");
    assert_eq!(ready.status, 200, "{what}");
    assert!(ready.text().contains(&file) && ready.text().contains(words), "{ready:?}");
    assert_eq!(bad_files(proxy), 1, "{what}");
    assert!(!shows_content(&ready.text()) && !shows_content(&proxy.admin("/status").text()));
}

fn assert_nothing_shown(proxy: &Proxy) {
    let line = proxy.output().lines().find(|line| shows_content(line)).map(str::to_owned);
    assert_eq!(line, None);
}

/// Whole secrets are searched for after every test; here it is about pieces, and junk.
fn shows_content(text: &str) -> bool {
    let halves = [canary::APP_KEY, canary::TOKEN].map(|value| &value[..value.len() / 2]);
    halves.iter().chain(&[JUNK]).any(|piece| text.contains(piece))
}

fn problem(proxy: &Proxy) -> Value {
    proxy.admin("/status").json()["credentials"]["problem"].clone()
}

fn failed_reloads(proxy: &Proxy) -> u64 {
    proxy.metric(r#"innopaas_proxy_credential_reloads_total{pair="primary",result="failed"}"#)
}

fn bad_files(proxy: &Proxy) -> u64 {
    proxy.metric(r#"innopaas_proxy_credential_files_bad{pair="primary"}"#)
}

/// Whether calls leave with this pair; those before left with another one that was written as one.
fn generation_in_use_is(proxy: &Proxy, upstream: &Upstream, last: &Pair) -> bool {
    assert_eq!(proxy.call(Call::sms()).status, 200);
    let sent = upstream.take();
    for sent in &sent {
        let mark = sent.app_key().strip_prefix(canary::APP_KEY).expect("an app key");
        assert_eq!(*sent, canary::marked_pair(mark), "halves of two pairs");
    }
    sent.last() == Some(last)
}

/// Answers that all is well, and keeps the pair of every call.
struct Upstream {
    listener: RawUpstream,
    calls: Arc<Mutex<Vec<Result<Pair, String>>>>,
}

impl Upstream {
    fn start() -> Self {
        let calls = Arc::<Mutex<Vec<_>>>::default();
        let kept = Arc::clone(&calls);
        let listener = RawUpstream::start(move |_, tls| serve(tls, &kept));
        Self { listener, calls }
    }

    /// The pairs of the calls since the last time.
    fn take(&self) -> Vec<Pair> {
        let calls = std::mem::take(&mut *self.calls.lock().unwrap());
        calls.into_iter().map(|call| call.unwrap()).collect()
    }
}

fn serve(mut tls: Tls, calls: &Mutex<Vec<Result<Pair, String>>>) {
    const WELL: &str = r#"{"code":"0","success":true}"#;
    let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        match read(&bytes) {
            Ok(Progress::Whole(request, length)) => {
                bytes.drain(..length);
                calls.lock().unwrap().push(pair_of(&request));
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", WELL.len());
                raw_upstream::answer(&mut tls, &(head + WELL));
            }
            Ok(Progress::Incomplete) => match tls.read(&mut piece) {
                Ok(0) => return,
                Ok(length) => bytes.extend_from_slice(&piece[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            },
            Err(why) => return calls.lock().unwrap().push(Err(why)),
        }
    }
}

fn pair_of(request: &StrictRequest) -> Result<Pair, String> {
    let one = |name| match request.values(name)[..] {
        [value] => String::from_utf8(value.to_vec()).map_err(|error| error.to_string()),
        ref values => Err(format!("{} times {name}", values.len())),
    };
    Ok(Pair::new(one("AppKey")?, one("Authorization")?))
}
