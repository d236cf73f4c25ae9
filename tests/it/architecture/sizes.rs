//! A file of src/ has at most 350 lines and a function at most 60, tests aside: what is longer has two things in it.

const FILE: usize = 350;
const FUNCTION: usize = 60;

/// The lines of a file before its module of tests.
fn without_tests(text: &str) -> Vec<&str> {
    let lines: Vec<&str> = text.lines().collect();
    let tests = lines
        .windows(2)
        .position(|pair| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod tests {"));
    lines[..tests.unwrap_or(lines.len())].to_vec()
}

/// (name, lines) of each function. rustfmt gives a function's last line the indent of its first.
fn functions<'a>(lines: &[&'a str]) -> Vec<(&'a str, usize)> {
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let is_function = |word: &str| line.trim_start().starts_with(word);
        let starts = [
            "fn ",
            "pub fn ",
            "async fn ",
            "pub async fn ",
            "const fn ",
            "pub const fn ",
        ];
        let starts = starts.into_iter().any(is_function)
            || line.trim_start().starts_with("pub(") && line.contains(" fn ");
        if !starts || line.ends_with(['}', ';']) {
            continue;
        }
        let ends = |line: &&str| line.len() >= indent && line[indent..] == *"}" && line.trim_start() == "}";
        let rest = &lines[at + 1..];
        let Some(length) = rest.iter().position(ends) else {
            continue;
        };
        let name = line.split("fn ").nth(1).unwrap_or(line);
        found.push((name.split(['(', '<']).next().unwrap_or(name), length + 2));
    }
    found
}

#[test]
fn no_file_and_no_function_of_the_exporter_is_too_long() {
    let (mut count, mut long) = (0, Vec::new());
    for (file, _) in super::files() {
        if super::is_test(&file) {
            continue;
        }
        let text = std::fs::read_to_string(super::source().join(&file)).expect("a file");
        let lines = without_tests(&text);
        if lines.len() > FILE {
            long.push(format!("{file}: {} lines", lines.len()));
        }
        for (name, length) in functions(&lines) {
            count += 1;
            if length > FUNCTION {
                long.push(format!("{file}: {name} has {length} lines"));
            }
        }
    }
    assert!(long.is_empty(), "{long:#?}");
    assert!(count > 1000, "{count} functions");
}

#[test]
fn a_function_is_as_long_as_its_lines() {
    let text = "fn a() {\n    b();\n}\n\nimpl C {\n    pub(super) fn d(\n        e: F,\n    ) {\n        if g {\n        }\n    }\n}\n";
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(functions(&lines), [("a", 3), ("d", 6)]);
}
