//! Checks names and passwords.
//!
//! bcrypt is slow on purpose, so that a flood of wrong passwords must be limited: one is computed at a time, on a thread of its
//! own with a low priority, 8 wait, and further requests get 503. Results are remembered, right and wrong ones. A wrong one never
//! displaces a right one, so a client with the right password does not wait for the flood. An unknown name costs as much as a
//! known one.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::HeaderValue;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::{Semaphore, oneshot};

use super::web_config::{PasswordHash, Users};
use crate::runtime::low_thread::lower_priority;

/// Logins that are computed or wait: one, and eight.
const PLACES: usize = 9;
/// The niceness of the thread that computes is raised by this above that of the web thread. It needs a whole core during a flood,
/// and a round that shares the core must not wait for it. Not the lowest priority: a first login must succeed on a busy switch too.
const NICE: i32 = 10;
/// Results that are remembered.
const REMEMBERED: usize = 100;

/// Whether a request may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SignInResult {
    In,
    Out,
    /// Too many wait already.
    Busy,
}

/// What an answer depends on. A structure and no joined text, so that no two logins have the same.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Login {
    user: String,
    hash: PasswordHash,
    password: Vec<u8>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// The latest answers.
#[derive(Debug, Default)]
struct Memory {
    answers: HashMap<Login, bool>,
    /// The wrong ones, and the right ones, oldest first.
    order: [VecDeque<Login>; 2],
}

impl Memory {
    fn keep(&mut self, login: Login, right: bool) {
        if self.answers.contains_key(&login) {
            return;
        }
        if self.answers.len() >= REMEMBERED {
            let [wrong, of_right] = &mut self.order;
            let oldest = wrong.pop_front().or_else(|| right.then(|| of_right.pop_front())?);
            let Some(oldest) = oldest else { return };
            self.answers.remove(&oldest);
        }
        self.order[usize::from(right)].push_back(login.clone());
        self.answers.insert(login, right);
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct SignIn {
    places: Arc<Semaphore>,
    turn: Arc<Semaphore>,
    memory: Arc<Mutex<Memory>>,
}

impl Default for SignIn {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(PLACES)),
            turn: Arc::new(Semaphore::new(1)),
            memory: Arc::default(),
        }
    }
}

fn lock(memory: &Mutex<Memory>) -> MutexGuard<'_, Memory> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SignIn {
    /// Whether this `Authorization` is a user's. Without users, everyone may in.
    pub(super) async fn check(&self, users: &Users, authorization: Option<&HeaderValue>) -> SignInResult {
        if users.len() == 0 {
            return SignInResult::In;
        }
        let Some((user, password)) = authorization.and_then(|value| basic(value.as_bytes())) else {
            return SignInResult::Out;
        };
        let (known, hash) = users.hash_of(&user);
        let login = Login {
            hash: hash.clone(),
            user,
            password,
        };
        match self.is_right(login).await {
            Some(right) if right && known => SignInResult::In,
            Some(_) => SignInResult::Out,
            None => SignInResult::Busy,
        }
    }

    /// `None`: too many wait already.
    async fn is_right(&self, login: Login) -> Option<bool> {
        let known = |login| lock(&self.memory).answers.get(login).copied();
        if let Some(right) = known(&login) {
            return Some(right);
        }
        let place = self.places.clone().try_acquire_owned().ok()?;
        let turn = self.turn.clone().acquire_owned().await.ok()?;
        // Another request with the same login may have been first.
        if let Some(right) = known(&login) {
            return Some(right);
        }
        let memory = self.memory.clone();
        let (computed, result) = oneshot::channel();
        let compute = move || {
            lower_priority(NICE);
            // Held until the end, also if the client has gone meanwhile.
            let _held = (place, turn);
            let right = login.hash.is_of(&login.password);
            lock(&memory).keep(login, right);
            // An error means that the client has gone.
            let _ = computed.send(right);
        };
        // Not a thread of tokio's: it would keep the low priority for its next work. No thread: as if too many wait.
        let builder = std::thread::Builder::new().name("sign-in".to_owned());
        builder.spawn(compute).ok()?;
        result.await.ok()
    }
}

/// Name and password of `Basic` authentication (RFC 7617). A name that is not UTF-8 is no user's.
fn basic(value: &[u8]) -> Option<(String, Vec<u8>)> {
    const SCHEME: &[u8] = b"basic ";
    let (scheme, encoded) = value.split_at_checked(SCHEME.len())?;
    if !scheme.eq_ignore_ascii_case(SCHEME) {
        return None;
    }
    let decoded = STANDARD.decode(encoded).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let (user, password) = (&decoded[..colon], &decoded[colon + 1..]);
    Some((String::from_utf8(user.to_vec()).ok()?, password.to_vec()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::web::web_config::tests::users;

    fn authorization(user: &str, password: &str) -> HeaderValue {
        let value = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        HeaderValue::from_str(&value).expect("ASCII")
    }

    #[test]
    fn only_basic_is_read() {
        let check = |value: &str, expected: Option<(&str, &str)>| {
            let expected = expected.map(|(user, password)| (user.to_owned(), password.into()));
            assert_eq!(basic(value.as_bytes()), expected, "{value}");
        };
        check("Basic YTpi", Some(("a", "b")));
        check("bASIC YTpiOmM=", Some(("a", "b:c")));
        check("Basic Og==", Some(("", "")));
        check("Basic YTpiOmM", None);
        check("Basic !!!", None);
        check("Basic", None);
        check("Bearer YTpi", None);
        check("Basic YWI=", None);
        check("", None);
        assert_eq!(basic(b"Basic /zph"), None, "a name that is not UTF-8");
    }

    #[tokio::test]
    async fn who_is_known_with_the_right_password_is_let_in() {
        let (sign_in, users) = (SignIn::default(), users());
        for (user, password, expected) in [
            ("alice", "alice123", SignInResult::In),
            ("alice", "alice124", SignInResult::Out),
            ("alice", "", SignInResult::Out),
            ("ALICE", "alice123", SignInResult::Out),
            ("nobody", "alice123", SignInResult::Out),
        ] {
            // The second answer is remembered.
            for _ in 0..2 {
                let given = authorization(user, password);
                assert_eq!(sign_in.check(&users, Some(&given)).await, expected, "{user}");
            }
        }
        assert_eq!(sign_in.check(&users, None).await, SignInResult::Out);
        assert_eq!(sign_in.check(&Users::default(), None).await, SignInResult::In);
        assert_eq!(lock(&sign_in.memory).answers.len(), 5);
    }

    #[tokio::test]
    async fn at_most_nine_are_in_work_and_right_answers_do_not_wait() {
        let (sign_in, users) = (Arc::new(SignIn::default()), users());
        let right = authorization("alice", "alice123");
        assert_eq!(sign_in.check(&users, Some(&right)).await, SignInResult::In);
        let held = sign_in.turn.clone().acquire_owned().await.expect("open");
        let mut waiting = Vec::new();
        for n in 0..PLACES {
            let (sign_in, users) = (sign_in.clone(), users.clone());
            waiting.push(tokio::spawn(async move {
                let wrong = authorization("alice", &format!("wrong{n}"));
                sign_in.check(&users, Some(&wrong)).await
            }));
        }
        while sign_in.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let wrong = authorization("alice", "another");
        assert_eq!(sign_in.check(&users, Some(&wrong)).await, SignInResult::Busy);
        assert_eq!(sign_in.check(&users, Some(&right)).await, SignInResult::In);
        // One client goes while it waits: its place is free again.
        waiting.pop().expect("one").abort();
        while sign_in.places.available_permits() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(held);
        for one in waiting {
            assert_eq!(one.await.expect("no panic"), SignInResult::Out);
        }
    }

    #[test]
    fn no_two_logins_have_one_answer_however_they_are_divided() {
        let mut memory = Memory::default();
        let hash = users().hash_of("alice").1.clone();
        let login = |user: &str, password: &str| Login {
            user: user.to_owned(),
            hash: hash.clone(),
            password: password.into(),
        };
        memory.keep(login("alice", "secret"), true);
        for (user, password) in [
            ("alices", "ecret"),
            ("alic", "esecret"),
            ("alice:secret", ""),
            ("", "alicesecret"),
        ] {
            assert_eq!(memory.answers.get(&login(user, password)), None, "{user}");
        }
        let other = Login {
            hash: users().hash_of("dave").1.clone(),
            ..login("alice", "secret")
        };
        assert_eq!(memory.answers.get(&other), None, "a new hash in the file");
        assert_eq!(memory.answers.get(&login("alice", "secret")), Some(&true));
    }

    #[test]
    fn wrong_answers_displace_each_other_and_never_a_right_one() {
        let mut memory = Memory::default();
        let (_, hash) = (0, users().hash_of("alice").1.clone());
        let login = |user: &str, n: usize| Login {
            user: user.to_owned(),
            hash: hash.clone(),
            password: n.to_string().into_bytes(),
        };
        memory.keep(login("right", 0), true);
        for n in 0..1000 {
            memory.keep(login("wrong", n), false);
        }
        assert_eq!(memory.answers.len(), REMEMBERED);
        assert_eq!(memory.answers.get(&login("right", 0)), Some(&true));
        assert_eq!(memory.answers.get(&login("wrong", 999)), Some(&false));
        for n in 0..1000 {
            memory.keep(login("right", n), true);
        }
        assert_eq!(memory.answers.len(), REMEMBERED);
        memory.keep(login("wrong", 0), false);
        assert_eq!(memory.answers.get(&login("wrong", 0)), None);
    }
}
