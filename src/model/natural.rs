//! The order in which people count: Ethernet4 before Ethernet12.

use std::cmp::Ordering;

/// Compares two names. Digits in a row count as one number. Names that differ only in leading zeros are not equal.
pub(super) fn compare(one: &str, other: &str) -> Ordering {
    let (mut a, mut b) = (one.as_bytes(), other.as_bytes());
    while let ([x, ..], [y, ..]) = (a, b) {
        let order = if x.is_ascii_digit() && y.is_ascii_digit() {
            let (number, left) = number(a);
            let (other, right) = self::number(b);
            (a, b) = (left, right);
            number.len().cmp(&other.len()).then_with(|| number.cmp(other))
        } else {
            (a, b) = (&a[1..], &b[1..]);
            x.cmp(y)
        };
        if order.is_ne() {
            return order;
        }
    }
    a.len().cmp(&b.len()).then_with(|| one.cmp(other))
}

/// The digits at the beginning, without leading zeros, and what follows them.
fn number(text: &[u8]) -> (&[u8], &[u8]) {
    let zeros = text.iter().take_while(|byte| **byte == b'0').count();
    let text = &text[zeros..];
    text.split_at(text.iter().take_while(|byte| byte.is_ascii_digit()).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count_as_numbers() {
        let sorted = [
            "",
            "0",
            "00",
            "1",
            "Ethernet",
            "Ethernet-1",
            "Ethernet0",
            "Ethernet04",
            "Ethernet4",
            "Ethernet4/1",
            "Ethernet4/12",
            "Ethernet04x",
            "Ethernet4x",
            "Ethernet12",
            "Ethernet99999999999999999999999",
            "Ethernet100000000000000000000000",
            "EthernetA",
        ];
        for (n, a) in sorted.iter().enumerate() {
            for (m, b) in sorted.iter().enumerate() {
                assert_eq!(compare(a, b), n.cmp(&m), "{a} {b}");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn it_is_an_order(a in "[0-1a/]{0,6}", b in "[0-1a/]{0,6}", c in "[0-1a/]{0,6}") {
            assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            assert_eq!(compare(&a, &b).is_eq(), a == b);
            if compare(&a, &b).is_le() && compare(&b, &c).is_le() {
                assert!(compare(&a, &c).is_le(), "{a} {b} {c}");
            }
        }
    }
}
