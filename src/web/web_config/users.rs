//! `basic_auth_users`: names and bcrypt hashes. A hash is never shown.

use std::collections::BTreeMap;
use std::fmt;

use base64::alphabet::BCRYPT;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};
use base64::{DecodeSliceError, Engine as _};

use super::{KeyError, at};
use crate::model::text;

/// bcrypt reads so many bytes of a password, with the zero that ends it.
const MAX_PASSWORD: usize = 72;
/// Each step doubles the time. 12 takes 0.2 s; 16 takes 4 s, and one is computed at a time.
const COSTS: std::ops::RangeInclusive<u8> = 4..=16;
/// The salt's digits, and all digits after the cost.
const DIGITS: (usize, usize) = (22, 53);

/// A bcrypt hash.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(in crate::web) struct PasswordHash {
    cost: u8,
    salt: [u8; 16],
    digest: [u8; 23],
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

impl PasswordHash {
    /// `$2y$10$` and 53 digits; `None`: it is no such hash.
    fn parse(text: &str) -> Option<Self> {
        let rest = ["$2a$", "$2b$", "$2y$"]
            .iter()
            .find_map(|prefix| text.strip_prefix(prefix))?;
        let (cost, digits) = rest.split_once('$')?;
        if cost.len() != 2 || digits.len() != DIGITS.1 || !digits.is_ascii() {
            return None;
        }
        let (salt, digest) = digits.split_at(DIGITS.0);
        let mut hash = Self {
            cost: cost.parse().ok()?,
            salt: [0; 16],
            digest: [0; 23],
        };
        decode(salt, &mut hash.salt).ok()?;
        decode(digest, &mut hash.digest).ok()?;
        Some(hash)
    }

    /// One that costs as much as this and that no password is known for.
    fn of_nobody(cost: u8) -> Self {
        Self {
            cost,
            salt: [0x5a; 16],
            digest: [0xa5; 23],
        }
    }

    /// Whether it is this password's. Takes long: that is what bcrypt is for.
    pub(in crate::web) fn is_of(&self, password: &[u8]) -> bool {
        let mut password = password.to_vec();
        password.push(0);
        password.truncate(MAX_PASSWORD);
        let digest = bcrypt::bcrypt(self.cost.into(), self.salt, &password);
        // All bytes are compared, so the time does not show how many are right.
        let differences = digest.iter().zip(&self.digest).map(|(a, b)| a ^ b);
        differences.fold(0, |all, one| all | one) == 0
    }
}

fn decode(digits: &str, into: &mut [u8]) -> Result<(), DecodeSliceError> {
    // The last digit has bits to spare, and other programs do not clear them.
    let engine = GeneralPurpose::new(&BCRYPT, NO_PAD.with_decode_allow_trailing_bits(true));
    match engine.decode_slice(digits, into)? {
        read if read == into.len() => Ok(()),
        _ => Err(DecodeSliceError::OutputSliceTooSmall),
    }
}

/// All users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::web) struct Users {
    hashes: BTreeMap<String, PasswordHash>,
    /// Compared with for a name that is not known.
    nobody: PasswordHash,
}

impl Default for Users {
    fn default() -> Self {
        Self {
            hashes: BTreeMap::new(),
            nobody: PasswordHash::of_nobody(*COSTS.start()),
        }
    }
}

impl Users {
    pub(super) fn new(users: BTreeMap<String, String>) -> Result<Self, KeyError> {
        let mut hashes = BTreeMap::new();
        for (user, hash) in users {
            let key = format!("basic_auth_users.{}", text::quote(&user));
            let Some(hash) = PasswordHash::parse(&hash) else {
                return at(
                    &key,
                    "expected a bcrypt hash ($2a$, $2b$ or $2y$), as `htpasswd -nBC 10 USER` prints it",
                );
            };
            if !COSTS.contains(&hash.cost) {
                let (least, most) = (COSTS.start(), COSTS.end());
                return at(
                    &key,
                    format!("expected a bcrypt hash with a cost from {least} to {most}"),
                );
            }
            if user.contains(':') {
                return at(&key, "expected a name without a colon: no client could send it");
            }
            hashes.insert(user, hash);
        }
        // An unknown name must take as long as a known one.
        let cost = hashes.values().map(|hash: &PasswordHash| hash.cost).max();
        Ok(Self {
            nobody: PasswordHash::of_nobody(cost.unwrap_or(*COSTS.start())),
            hashes,
        })
    }

    pub(in crate::web) fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether there is this user, and the hash to compare the password with in any case.
    pub(in crate::web) fn hash_of(&self, user: &str) -> (bool, &PasswordHash) {
        match self.hashes.get(user) {
            Some(hash) => (true, hash),
            None => (false, &self.nobody),
        }
    }
}
