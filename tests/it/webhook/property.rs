//! Whatever a head shows: it is verified if, and only if, it shows exactly one right pair.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use innopaas_proxy::config::Application;
use innopaas_proxy::credentials::Console;
use innopaas_proxy::webhook::Verifier;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::TestRunner;

use super::console;
use crate::support::Mount;
use crate::support::canary::{HOOK_TOKEN, USER_NAME};

type Head = Vec<(&'static str, Vec<u8>)>;

/// An app, its user name and its token.
type Pair = (&'static str, String, String);

/// What is typed for each app: a user name and a token, or one of them.
fn pairs() -> [Pair; 3] {
    let club = |text: &str| format!("{text}Club");
    [
        ("shop", USER_NAME.to_owned(), HOOK_TOKEN.to_owned()),
        ("club", club(USER_NAME), club(HOOK_TOKEN)),
        ("half", String::new(), format!("{HOOK_TOKEN}Half")),
    ]
}

fn names() -> impl Strategy<Value = &'static str> {
    const NAMES: [&str; 10] = [
        "username",
        "username",
        "username",
        "authorization",
        "authorization",
        "authorization",
        "user-name",
        "user_name",
        "proxy-authorization",
        "x-username",
    ];
    select(NAMES.to_vec())
}

fn values() -> impl Strategy<Value = Vec<u8>> {
    let known = pairs().into_iter().flat_map(|(_, user, token)| [user, token]);
    let known: Vec<_> = known.map(String::into_bytes).collect();
    let of_known = |change: fn(Vec<u8>, usize, u8) -> Vec<u8>| {
        let all = (select(known.clone()), any::<Index>(), 0x20..0x7f_u8);
        all.prop_map(move |(value, at, byte)| {
            let at = if value.is_empty() { 0 } else { at.index(value.len()) };
            change(value, at, byte)
        })
    };
    prop_oneof![
        6 => select(known.clone()),
        1 => of_known(|value, at, _| value[..at].to_vec()),
        1 => of_known(|value, at, _| value[at..].to_vec()),
        1 => of_known(|mut value, at, byte| { value.insert(at, byte); value }),
        1 => of_known(|value, at, _| {
            let other = |byte: u8| match byte { b'a'..=b'z' => byte - 32, b'A'..=b'Z' => byte + 32, _ => byte };
            value.into_iter().enumerate().map(|(i, b)| if i == at { other(b) } else { b }).collect()
        }),
        1 => proptest::collection::vec(prop_oneof![0x20..0x7f_u8, 0x80..=0xff_u8], 0..40),
    ]
}

/// What does not count, whatever it holds.
fn others() -> impl Strategy<Value = Head> {
    let name = select(vec!["user-name", "user_name", "proxy-authorization", "x-username", "x"]);
    proptest::collection::vec((name, values()), 0..6)
}

/// By this reading of the rule: each header once at most, and both together a pair.
fn wanted(head: &Head) -> Option<&'static str> {
    let only = |name: &str| {
        let mut values = head.iter().filter(|(n, _)| *n == name).map(|(_, value)| value.as_slice());
        let first = values.next().unwrap_or_default();
        values.next().is_none().then_some(first)
    };
    let (user, token) = (only("username")?, only("authorization")?);
    let is_pair =
        |(_, u, t): &&(&str, String, String)| u.as_bytes() == user && t.as_bytes() == token;
    pairs().iter().find(is_pair).map(|(app, ..)| *app)
}

fn verified(verifier: &Verifier, head: &Head) -> Option<String> {
    let mut headers = HeaderMap::new();
    for (name, value) in head {
        let name = HeaderName::from_static(name);
        // A control character does not get as far as here.
        headers.append(name, HeaderValue::from_bytes(value).unwrap());
    }
    verifier.verify(&headers).ok().map(|verified| verified.app.unwrap().to_string())
}

#[test]
fn a_head_is_verified_if_and_only_if_it_shows_exactly_one_right_pair() {
    let half = Mount::empty();
    half.swap_in_files(&[("authorization", format!("{HOOK_TOKEN}Half"))]);
    let mounts = [console(""), console("Club"), half];
    let application = |((name, ..), mount): ((&str, String, String), &Mount)| Application {
        name: name.to_owned(),
        current: mount.path().to_owned(),
        previous: None,
    };
    let applications: Vec<_> = pairs().into_iter().zip(&mounts).map(application).collect();
    let console = Console::load(&applications, false, Duration::from_millis(10)).unwrap();
    let verifier = Verifier::Pairs(console.pairs());

    let mut runner = TestRunner::new(ProptestConfig::with_cases(4_000));
    let any_head = proptest::collection::vec((names(), values()), 0..6);
    let check = |head: Head| {
        prop_assert_eq!(verified(&verifier, &head), wanted(&head).map(str::to_owned));
        Ok(())
    };
    runner.run(&any_head, check).unwrap();

    let with_pair = (others(), select(pairs().to_vec()), any::<[Index; 2]>());
    let check = |(mut head, (app, user, token), at): (Head, Pair, [Index; 2])| {
        let [first, second] = at;
        head.insert(first.index(head.len() + 1), ("username", user.into_bytes()));
        head.insert(second.index(head.len() + 1), ("authorization", token.into_bytes()));
        prop_assert_eq!(verified(&verifier, &head), Some(app.to_owned()));
        Ok(())
    };
    runner.run(&with_pair, check).unwrap();
}
