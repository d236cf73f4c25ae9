//! Which file imports which: every path in the code that starts at the crate, at a parent or at a child.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use syn::visit::{self, Visit};

/// A module's path from the crate's root: empty for lib.rs and main.rs.
pub(super) type Name = Vec<String>;

/// The modules of a crate, and the other modules that each names.
pub(super) struct Crate(BTreeMap<Name, Vec<Import>>);

struct Import {
    /// `pub use`: others can import it from here.
    shown: bool,
    /// Absolute, from the crate's root.
    path: Name,
}

impl Crate {
    /// Reads each file under `src`, without tests.
    pub(super) fn read(src: &Path) -> Self {
        let mut sources = BTreeMap::new();
        walk(src, &mut Vec::new(), &mut sources);
        let names: BTreeSet<Name> = sources.keys().cloned().collect();
        let import = |(name, file): (&Name, &syn::File)| {
            let mut finder = Finder {
                name,
                names: &names,
                found: Vec::new(),
            };
            finder.visit_file(file);
            (name.clone(), finder.found)
        };
        Self(sources.iter().map(import).collect())
    }

    /// Each module with the absolute paths that it names.
    pub(super) fn paths(&self) -> impl Iterator<Item = (&Name, &Name)> {
        let all = self.0.iter();
        all.flat_map(|(name, imports)| imports.iter().map(move |import| (name, &import.path)))
    }

    /// Each module with the modules that it imports. Two cases do not count: a folder's page that re-exports its children, and a
    /// child that imports from its folder's page.
    pub(super) fn needs(&self) -> BTreeMap<&Name, BTreeSet<&Name>> {
        let of = |(name, imports): (&'_ Name, &'_ Vec<Import>)| -> BTreeSet<&Name> {
            let own = |import: &&Import| !(import.shown && import.path.starts_with(name));
            let found = imports
                .iter()
                .filter(own)
                .filter_map(|import| self.defines(&import.path, 0));
            found.filter(|found| !name.starts_with(found)).collect()
        };
        self.0
            .iter()
            .map(|(name, imports)| (name, of((name, imports))))
            .collect()
    }

    /// The module that defines this, not one that only re-exports it.
    fn defines(&self, path: &[String], depth: usize) -> Option<&Name> {
        let split = (0..=path.len())
            .rev()
            .find(|n| self.0.contains_key(&path[..*n]))?;
        let (module, imports) = self.0.get_key_value(&path[..split])?;
        let Some(item) = path.get(split) else {
            return Some(module);
        };
        let shown = imports
            .iter()
            .find(|import| import.shown && import.path.last() == Some(item));
        match shown {
            Some(import) if depth < 8 && import.path != path => self.defines(&import.path, depth + 1),
            _ => Some(module),
        }
    }

    /// Modules that import each other, directly or through others.
    pub(super) fn circle(&self) -> Option<Vec<String>> {
        let mut needs = self.needs();
        loop {
            let free: Vec<&Name> = needs
                .iter()
                .filter(|(_, needs)| needs.is_empty())
                .map(|(name, _)| *name)
                .collect();
            if free.is_empty() {
                break;
            }
            needs.retain(|name, _| !free.contains(name));
            for left in needs.values_mut() {
                left.retain(|name| !free.contains(name));
            }
        }
        // A module that only imports a member of a circle is not part of it.
        loop {
            let needed: BTreeSet<&Name> = needs.values().flatten().copied().collect();
            let before = needs.len();
            needs.retain(|name, _| needed.contains(name));
            if needs.len() == before {
                break;
            }
        }
        let names = needs.keys().map(|name| name.join("/")).collect::<Vec<_>>();
        (!names.is_empty()).then_some(names)
    }
}

fn walk(dir: &Path, name: &mut Name, files: &mut BTreeMap<Name, syn::File>) {
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        let stem = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .expect("UTF-8")
            .to_owned();
        if path.is_dir() {
            name.push(stem);
            walk(&path, name, files);
            name.pop();
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            if ["tests", "testing"].contains(&&*stem) {
                continue;
            }
            let mut name = name.clone();
            if !["lib", "main"].contains(&&*stem) {
                name.push(stem);
            }
            let text = std::fs::read_to_string(&path).expect("text");
            let file = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            // A package's program and its library are one here.
            files
                .entry(name)
                .or_insert_with(|| syn::File {
                    shebang: None,
                    attrs: Vec::new(),
                    items: Vec::new(),
                })
                .items
                .extend(file.items);
        }
    }
}

struct Finder<'a> {
    name: &'a Name,
    names: &'a BTreeSet<Name>,
    found: Vec<Import>,
}

impl Finder<'_> {
    fn add(&mut self, shown: bool, path: &[String]) {
        let Some(first) = path.first() else { return };
        let supers = path.iter().take_while(|part| *part == "super").count();
        let child = [&self.name[..], std::slice::from_ref(first)].concat();
        let path = match &**first {
            "crate" => path[1..].to_vec(),
            "self" => [&self.name[..], &path[1..]].concat(),
            "super" if supers <= self.name.len() => {
                [&self.name[..self.name.len() - supers], &path[supers..]].concat()
            }
            _ if self.names.contains(&child) => [&self.name[..], path].concat(),
            _ => return,
        };
        self.found.push(Import { shown, path });
    }

    fn add_tree(&mut self, shown: bool, before: &[String], tree: &syn::UseTree) {
        let with = |ident: &syn::Ident| [before, &[ident.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.add_tree(shown, &with(&path.ident), &path.tree),
            syn::UseTree::Name(name) if name.ident == "self" => self.add(shown, before),
            syn::UseTree::Name(name) => self.add(shown, &with(&name.ident)),
            // `use crate::{self as other}`, `use crate as other`: the path ends at the crate.
            syn::UseTree::Rename(rename) if rename.ident == "self" && !before.is_empty() => {
                self.add(shown, before)
            }
            syn::UseTree::Rename(rename) => self.add(shown, &with(&rename.ident)),
            syn::UseTree::Glob(_) => self.add(shown, before),
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.add_tree(shown, before, tree);
                }
            }
        }
    }
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    let named = |attribute: &syn::Attribute| match &attribute.meta {
        syn::Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string().contains("test"),
        _ => false,
    };
    attributes.iter().any(named)
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    /// `extern crate self as other` would give the crate a second name.
    fn visit_item_extern_crate(&mut self, item: &'ast syn::ItemExternCrate) {
        if item.ident == "self" {
            self.add(false, &["crate".to_owned()]);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !is_test(&item.attrs) {
            self.add_tree(!matches!(item.vis, syn::Visibility::Inherited), &[], &item.tree);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<String> = path.segments.iter().map(|part| part.ident.to_string()).collect();
        if parts.len() > 1 {
            self.add(false, &parts);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        // A macro's arguments are not parsed, but a path in them looks the same.
        let text = called.tokens.to_string().replace(" :: ", "::");
        for word in text.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')) {
            let parts: Vec<String> = word.split("::").map(str::to_owned).collect();
            if parts.len() > 1 {
                self.add(false, &parts);
            }
        }
        visit::visit_macro(self, called);
    }
}
