//! One name, one thing: the names of files over the whole workspace, the names of types in src/.

use std::collections::BTreeMap;
use std::path::Path;

use syn::visit::Visit;

/// File names that say only which role a file has in its crate or folder.
const ROLES: [&str; 4] = ["lib.rs", "main.rs", "tests.rs", "build.rs"];

/// Where the sources are. Test programs and benchmarks (tests/, benches/) are named after what they test, so they stand aside.
const SOURCES: [&str; 6] = [
    "src",
    "crates/proto/src",
    "crates/sim/src",
    "crates/demo/src",
    "crates/testkit/src",
    "dashboards/generator",
];

#[test]
fn no_two_source_files_have_the_same_name() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in SOURCES {
        for path in rust_files(&root.join(source)) {
            // A folder's page, such as soc/probe.rs of soc/probe/, is known by its folder.
            let name = path.rsplit('/').next().expect("a name").to_owned();
            let is_page = Path::new(&path).with_extension("").is_dir();
            if !ROLES.contains(&&*name) && !is_page {
                places.entry(name).or_default().push(path);
            }
        }
    }
    assert!(places.len() > 100, "{places:?}");
    let twice = twice(places);
    assert!(twice.is_empty(), "rename all but one of each: {twice:#?}");
}

#[test]
fn no_two_types_of_the_exporter_have_the_same_name() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut types = Types::default();
    for path in rust_files(&src) {
        if path.ends_with("/tests.rs") || path.contains("/tests/") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("text");
        types.file.clone_from(&path);
        types.visit_file(&syn::parse_file(&text).unwrap_or_else(|error| panic!("{path}: {error}")));
    }
    assert!(types.places.len() > 200, "{:?}", types.places);
    assert!(types.places.contains_key("ChannelState"), "of the macro words!");
    let twice = twice(types.places);
    assert!(twice.is_empty(), "rename all but one of each: {twice:#?}");
}

fn twice(mut places: BTreeMap<String, Vec<String>>) -> BTreeMap<String, Vec<String>> {
    places.retain(|_, places| places.len() > 1);
    places
}

/// All Rust files under a directory.
fn rust_files(dir: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path.to_str().expect("UTF-8").to_owned());
        }
    }
    files
}

/// The structs, enums and traits outside test modules, and the enums that the macro `words!` makes.
#[derive(Default)]
struct Types {
    file: String,
    places: BTreeMap<String, Vec<String>>,
}

impl Types {
    fn add(&mut self, name: &syn::Ident) {
        let places = self.places.entry(name.to_string()).or_default();
        places.push(self.file.clone());
    }
}

impl<'ast> Visit<'ast> for Types {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        let is_test = |attribute: &syn::Attribute| attribute.path().is_ident("cfg");
        if !module.attrs.iter().any(is_test) {
            syn::visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.add(&item.ident);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.add(&item.ident);
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        self.add(&item.ident);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.add(&item.ident);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        if call.path.is_ident("words") {
            let name = call.parse_body_with(words_name);
            self.add(&name.expect("words! { /// ... Name { ... } }"));
        }
    }
}

/// The name in what stands in `words!`: attributes, a name, its values.
fn words_name(input: syn::parse::ParseStream<'_>) -> syn::Result<syn::Ident> {
    input.call(syn::Attribute::parse_outer)?;
    let name = input.parse()?;
    input.step(|cursor| {
        let mut rest = *cursor;
        while let Some((_, next)) = rest.token_tree() {
            rest = next;
        }
        Ok(((), rest))
    })?;
    Ok(name)
}
