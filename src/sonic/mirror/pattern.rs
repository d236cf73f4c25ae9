//! One pattern for SCAN that matches the keys of several tables and as few others as possible. So the database is searched once
//! and not once for each table.

use std::collections::BTreeSet;

use crate::model::Table;

/// As long as the shortest beginning of a key, with a class of characters for each place: `[DM][EU][VX]*`. The reader must
/// filter the other keys that it matches.
pub(super) fn of(tables: &[Table], separator: &str) -> Vec<u8> {
    let beginnings: Vec<Vec<u8>> = tables
        .iter()
        .map(|table| [table.name, separator].concat().into_bytes())
        .collect();
    let shortest = beginnings.iter().map(Vec::len).min().unwrap_or(0);
    let mut pattern = Vec::new();
    for place in 0..shortest {
        let class: BTreeSet<u8> = beginnings.iter().map(|beginning| beginning[place]).collect();
        pattern.push(b'[');
        for byte in class {
            pattern.extend([b'\\', byte]);
        }
        pattern.push(b']');
    }
    pattern.push(b'*');
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_has_a_class_for_each_place_that_all_tables_have() {
        let check = |names: &[&'static str], separator, expected: &str| {
            let table = |name: &&'static str| Table { name, fields: &[] };
            let tables: Vec<Table> = names.iter().map(table).collect();
            assert_eq!(String::from_utf8(of(&tables, separator)).expect("text"), expected);
        };
        check(&["AB"], "|", r"[\A][\B][\|]*");
        check(&["AB", "CDE"], "|", r"[\A\C][\B\D][\E\|]*");
        check(&["A-]"], "*", r"[\A][\-][\]][\*]*");
        check(&[], "|", "*");
    }
}
