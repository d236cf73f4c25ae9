//! The content of some tables of a SONiC database: Redis keys and their fields, as read.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The fields of one row.
pub type Row = BTreeMap<String, String>;

/// Memory that a field takes in addition to its text, bytes.
const FIELD: usize = 64;

/// The value of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A hash: a row of a SONiC table.
    Row(Row),
    /// A string, such as `CONFIG_DB_INITIALIZED`.
    Value(String),
    /// Another Redis type (a list, a set), which SONiC does not write.
    Other,
}

impl Entry {
    /// The value of a field that is not blank; `None` if this is not a row.
    pub fn field(&self, name: &str) -> Option<&str> {
        match self {
            Self::Row(row) => row
                .get(name)
                .map(String::as_str)
                .filter(|value| !value.trim().is_empty()),
            Self::Value(_) | Self::Other => None,
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Row(row) => {
                let fields = row.iter().map(|(name, value)| FIELD + name.len() + value.len());
                fields.sum()
            }
            Self::Value(value) => value.len(),
            Self::Other => 0,
        }
    }
}

/// What to read of a database.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The database's name, for the log: "CONFIG_DB".
    pub name: &'static str,
    /// Which rows of the tables.
    pub rows: Rows,
    /// Tables.
    pub tables: &'static [Table],
    /// Tables that are read as often as everything is, and not when they change; only for [`Rows::OfPorts`]. Where this user may
    /// not read them, they are as if they were empty.
    pub extras: &'static [Table],
    /// Keys without a table that hold a string.
    pub values: &'static [&'static str],
}

/// Which rows of its tables to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// All rows. Their keys are not known before.
    All,
    /// One row for each port that is probed. Their keys are known.
    OfPorts,
}

/// A table to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// Only these fields are read; empty: all. A row that has none of them is treated as missing.
    pub fields: &'static [&'static str],
}

/// Some tables of one database at one moment. Cheap to clone: the entries are shared.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tables {
    separator: String,
    entries: BTreeMap<String, Arc<Entry>>,
    /// Memory of all names and values, bytes.
    size: usize,
    /// Number of rows over the limit, which are not kept, by table.
    left_out: BTreeMap<&'static str, usize>,
}

impl Tables {
    /// Limit of rows per table. No switch has as many ports.
    pub const MOST_ROWS: usize = 10_000;

    /// Empty. `separator` stands between a table's name and a row's key.
    pub fn new(separator: &str) -> Self {
        Self {
            separator: separator.to_owned(),
            ..Self::default()
        }
    }

    /// How many rows of `table` were not kept because of the limit.
    pub fn left_out(&self, table: &str) -> usize {
        self.left_out.get(table).copied().unwrap_or(0)
    }

    /// Records that `rows` rows of `table` were not kept.
    pub fn leave_out(&mut self, table: &'static str, rows: usize) {
        self.left_out.insert(table, rows);
    }

    /// All keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Whether `key` exists.
    pub fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// The separator between a table's name and a row's key, and within such a key.
    pub fn separator(&self) -> &str {
        &self.separator
    }

    /// Replaces the value of `key`; `None` removes it.
    pub fn set(&mut self, key: String, entry: Option<Entry>) {
        self.size += entry.as_ref().map_or(0, Entry::size);
        let before = match entry {
            Some(entry) => self.entries.insert(key, Arc::new(entry)),
            None => self.entries.remove(&key),
        };
        self.size -= before.map_or(0, |entry| entry.size());
    }

    /// Memory of all names and values, bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Sets `key` to an entry that is shared with another `Tables`.
    pub fn put(&mut self, key: String, entry: Arc<Entry>) {
        self.size += entry.size();
        let before = self.entries.insert(key, entry);
        self.size -= before.map_or(0, |entry| entry.size());
    }

    /// The value of a key. `key` is the full name, with table and separator.
    pub fn get(&self, key: &str) -> Option<&Arc<Entry>> {
        self.entries.get(key)
    }

    /// All keys (full names) and their values, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Arc<Entry>)> {
        self.entries.iter().map(|(key, entry)| (key.as_str(), entry))
    }

    /// The value of a key without a table, if it is a string.
    pub fn value(&self, key: &str) -> Option<&str> {
        match self.entries.get(key).map(|entry| &**entry) {
            Some(Entry::Value(value)) => Some(value),
            _ => None,
        }
    }

    /// The row `key` of `table`, if there is one and it is a hash.
    pub fn row(&self, table: &str, key: &str) -> Option<&Row> {
        let key = format!("{table}{}{key}", self.separator);
        match self.entries.get(&key).map(|entry| &**entry) {
            Some(Entry::Row(row)) => Some(row),
            _ => None,
        }
    }

    /// All rows of `table`, sorted by key: the part of the key after the separator, and the value.
    pub fn table(&self, table: &str) -> impl Iterator<Item = (&str, &Entry)> {
        let prefix = format!("{table}{}", self.separator);
        let from = self.entries.range(prefix.clone()..);
        from.map_while(move |(key, entry)| Some((key.strip_prefix(&prefix)?, &**entry)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_what_stands_under_its_name_and_the_separator() {
        let mut tables = Tables::new("|");
        let row = |field: &str| Some(Entry::Row(Row::from([(field.to_owned(), "1".to_owned())])));
        tables.set("MUX_CABLE|Ethernet4".into(), row("b"));
        tables.set("MUX_CABLE|Ethernet0".into(), row("a"));
        tables.set("MUX_CABLE_INFO|Ethernet0".into(), row("c"));
        tables.set("MUX_CABLE".into(), Some(Entry::Value("odd".into())));
        let keys: Vec<&str> = tables.table("MUX_CABLE").map(|(key, _)| key).collect();
        assert_eq!(keys, ["Ethernet0", "Ethernet4"]);
        assert_eq!(tables.row("MUX_CABLE", "Ethernet0").expect("row")["a"], "1");
        assert_eq!(tables.value("MUX_CABLE"), Some("odd"));
        tables.set("MUX_CABLE|Ethernet0".into(), None);
        assert_eq!(tables.row("MUX_CABLE", "Ethernet0"), None);
        assert_eq!(tables.table("MUX_CABLE").count(), 1);
    }

    #[test]
    fn many_small_fields_count_for_what_they_cost_in_memory() {
        let fields = (0..1000).map(|n| (n.to_string(), String::new()));
        let mut tables = Tables::new("|");
        tables.set("T|a".to_owned(), Some(Entry::Row(fields.collect())));
        assert!(
            tables.size() >= 1000 * 2 * size_of::<String>(),
            "{}",
            tables.size()
        );
        tables.set("T|a".to_owned(), None);
        assert_eq!(tables.size(), 0);
    }
}
