//! Words from a SoC, made safe to keep: short, and without control characters.

/// The longest error text kept, characters.
pub(super) const MAX_ERROR: usize = 200;
/// The longest version kept, characters; true ones are under 40.
pub(super) const MAX_VERSION: usize = 128;
/// The longest guid kept, characters; true ones have 36.
pub(super) const MAX_GUID: usize = 64;

/// At most `max` characters of `text`, each control character replaced.
pub(super) fn clean(text: &str, max: usize) -> String {
    text.chars()
        .take(max)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_soc_says_is_cut_and_has_no_control_characters() {
        assert_eq!(clean("1.2.3", 128), "1.2.3");
        assert_eq!(clean("a\nb\u{1b}[31m", 128), "a\u{fffd}b\u{fffd}[31m");
        assert_eq!(clean(&"é".repeat(1000), 128).chars().count(), 128);
    }
}
