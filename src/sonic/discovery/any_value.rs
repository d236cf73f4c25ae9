//! Values of any type, of which texts are used: so that an odd value is a problem of its group and no error of the whole document.
//! Numbers count as texts. Whatever is not used is read and dropped at once.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::config::yaml;

/// A value that should be a text.
#[derive(Default)]
pub(super) enum Loose {
    #[default]
    Absent,
    Text(String),
    /// A list, a truth value, nothing.
    Odd,
}

impl Loose {
    pub(super) fn text(&self, label: &str) -> Result<Option<&str>, String> {
        match self {
            Self::Absent => Ok(None),
            Self::Text(text) => Ok(Some(text)),
            Self::Odd => Err(format!("label {label}: expected a text; put it in quotes")),
        }
    }
}

/// A list of texts.
#[derive(Default)]
pub(super) struct Texts {
    pub(super) texts: Vec<String>,
    /// Something else was in it.
    pub(super) odd: bool,
}

/// What a value turned out to be.
pub(super) trait Shape: Sized {
    fn of_text(_: String) -> Self {
        Self::odd()
    }
    fn of_list<'de, A: SeqAccess<'de>>(list: A) -> Result<Self, A::Error> {
        drain_list(list)?;
        Ok(Self::odd())
    }
    fn of_map<'de, A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        drain_map(map)?;
        Ok(Self::odd())
    }
    fn odd() -> Self;
}

fn drain_list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<(), A::Error> {
    while list.next_element::<IgnoredAny>()?.is_some() {}
    Ok(())
}

fn drain_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<(), A::Error> {
    while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    Ok(())
}

/// Takes any value, so that an odd one is no error of the document.
pub(super) struct Any<T>(pub(super) T);

struct AnyVisitor<T>(PhantomData<T>);

impl<'de, T: Shape> Deserialize<'de> for Any<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyVisitor(PhantomData)).map(Any)
    }
}

impl<'de, T: Shape> Visitor<'de> for AnyVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        Ok(T::of_text(text.to_owned()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<T, E> {
        Ok(T::of_text(text))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        Ok(T::of_text(number.to_string()))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        Ok(T::of_text(number.to_string()))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<T, E> {
        Ok(T::odd())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<T, E> {
        Ok(T::odd())
    }

    fn visit_unit<E: Error>(self) -> Result<T, E> {
        Ok(T::odd())
    }

    fn visit_none<E: Error>(self) -> Result<T, E> {
        Ok(T::odd())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<T, A::Error> {
        T::of_list(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::of_map(map)
    }
}

impl Shape for Loose {
    fn of_text(text: String) -> Self {
        Self::Text(text)
    }

    fn odd() -> Self {
        Self::Odd
    }
}

impl Shape for Texts {
    fn of_list<'de, A: SeqAccess<'de>>(mut list: A) -> Result<Self, A::Error> {
        let mut texts = Self::default();
        while let Some(Any(one)) = list.next_element::<Any<Loose>>()? {
            match one {
                Loose::Text(_) if texts.texts.len() > yaml::MAX_TARGETS => {
                    return Err(A::Error::custom(format!(
                        "expected at most {} targets",
                        yaml::MAX_TARGETS
                    )));
                }
                Loose::Text(text) => texts.texts.push(text),
                Loose::Absent | Loose::Odd => texts.odd = true,
            }
        }
        Ok(texts)
    }

    fn odd() -> Self {
        Self {
            odd: true,
            ..Self::default()
        }
    }
}
