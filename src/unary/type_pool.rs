//! Files → types. Equal schemas are held once, however many targets have them.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use prost_reflect::{DescriptorPool, MethodDescriptor};

use super::file_scan::{FileSize, ScannedFile, scan};
use crate::model::quoted;
use crate::unary::SchemaError;

/// The largest schema, in bytes: its files as they come. Real ones have 3 to 50 kB.
pub const MAX_BYTES: usize = 512 * 1024;
/// The most files of a schema.
pub const MAX_FILES: usize = 512;
/// The most messages and enums of a schema.
const MAX_TYPES: usize = 10_000;
/// What the types of a schema may need in memory, about, in bytes: a hostile server's are made of many small parts.
const MAX_WEIGHT: usize = 12 * 1024 * 1024;

/// The types of a schema.
pub struct TypePool(DescriptorPool);

impl std::fmt::Debug for TypePool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TypePool({} files)", self.0.files().len())
    }
}

/// The files of a schema, as they arrive.
#[derive(Debug, Default)]
pub struct SchemaFiles {
    files: Vec<ScannedFile>,
    bytes: usize,
    size: FileSize,
}

impl SchemaFiles {
    /// Adds an encoded `FileDescriptorProto`. One with a name that is known already is left out.
    pub fn add(&mut self, file: &[u8]) -> Result<(), SchemaError> {
        if self.bytes + file.len() > MAX_BYTES {
            return Err(SchemaError::new(format_args!(
                "the schema is over the limit of {MAX_BYTES} bytes"
            )));
        }
        let scanned = scan(file)?;
        if self.files.iter().any(|known| known.name == scanned.name) {
            return Ok(());
        }
        if self.files.len() == MAX_FILES {
            return Err(SchemaError::new(format_args!(
                "the schema is over the limit of {MAX_FILES} files"
            )));
        }
        self.bytes += file.len();
        self.size.types += scanned.size.types;
        self.size.weight += scanned.size.weight;
        if self.size.types > MAX_TYPES {
            return Err(SchemaError::new(format_args!(
                "the schema is over the limit of {MAX_TYPES} messages and enums"
            )));
        }
        if self.size.weight > MAX_WEIGHT {
            return Err(SchemaError::new(
                "the schema has too many fields or imports, or too long names",
            ));
        }
        self.files.push(scanned);
        Ok(())
    }

    /// Imports that are not there, at most `MAX_FILES`; those that protobuf itself brings along are never missing.
    pub fn missing(&self) -> Vec<&str> {
        let mut known: HashSet<&str> = self.files.iter().map(|file| &*file.name).collect();
        let imports = self.files.iter().flat_map(|file| &file.imports);
        let missing = imports.filter(|import| known.insert(import) && !is_built_in(import));
        missing.take(MAX_FILES).map(String::as_str).collect()
    }

    /// The files, without what no call needs, to be kept.
    pub fn encoded(&self) -> Arc<[Arc<[u8]>]> {
        self.files.iter().map(|file| Arc::from(&*file.bytes)).collect()
    }

    /// The types of all files.
    pub fn types(mut self) -> Result<Arc<TypePool>, SchemaError> {
        if let Some(import) = self.missing().first() {
            return Err(SchemaError::new(format_args!(
                "the import {} is not there",
                quoted(import)
            )));
        }
        self.add_built_in()?;
        self.files.sort_by(|one, other| one.name.cmp(&other.name));
        KNOWN.get_or_make(&self.files)
    }

    /// Adds what is imported and belongs to protobuf itself.
    fn add_built_in(&mut self) -> Result<(), SchemaError> {
        let mut known: HashSet<String> = self.files.iter().map(|file| file.name.clone()).collect();
        // Grows while it is read: those files import others.
        let mut next = 0;
        while let Some(file) = self.files.get(next) {
            next += 1;
            for import in file.imports.clone() {
                let built_in = DescriptorPool::global().get_file_by_name(&import);
                if let Some(built_in) = built_in.filter(|_| known.insert(import)) {
                    self.files.push(scan(&built_in.encode_to_vec())?);
                }
            }
        }
        Ok(())
    }
}

fn is_built_in(import: &str) -> bool {
    import.starts_with("google/protobuf/") && DescriptorPool::global().get_file_by_name(import).is_some()
}

/// All schemas that are held by someone.
struct KnownPools {
    /// Two, so that no server can make two schemas that look alike.
    hashers: [RandomState; 2],
    // A std mutex: it is held while a schema is made, never across an await. So one is made at a time.
    pools: Mutex<HashMap<[u64; 2], Weak<TypePool>>>,
}

static KNOWN: LazyLock<KnownPools> = LazyLock::new(|| KnownPools {
    hashers: [RandomState::new(), RandomState::new()],
    pools: Mutex::default(),
});

impl KnownPools {
    /// `files` are sorted.
    fn get_or_make(&self, files: &[ScannedFile]) -> Result<Arc<TypePool>, SchemaError> {
        let content: Vec<&[u8]> = files.iter().map(|file| &*file.bytes).collect();
        let key = [0, 1].map(|n: usize| self.hashers[n].hash_one(&content));
        // A panic while a schema was made leaves the map as it was.
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = pools.get(&key).and_then(Weak::upgrade) {
            return Ok(known);
        }
        let made = Arc::new(TypePool(make(&content)?));
        pools.retain(|_, pool| pool.strong_count() > 0);
        pools.insert(key, Arc::downgrade(&made));
        Ok(made)
    }
}

fn make(files: &[&[u8]]) -> Result<DescriptorPool, SchemaError> {
    let mut set = Vec::with_capacity(files.iter().map(|file| file.len() + 8).sum());
    for file in files {
        dualtor_proto::wire::put_bytes(&mut set, 1, file);
    }
    DescriptorPool::decode(&*set).map_err(SchemaError::new)
}

impl TypePool {
    /// A unary method. `Err`: the name is not there, or it streams.
    pub(super) fn method(&self, service: &str, method: &str) -> Result<MethodDescriptor, String> {
        let Some(found) = self.0.get_service_by_name(service) else {
            return Err(format!("the schema has no service {}", quoted(service)));
        };
        let Some(found) = found.methods().find(|known| known.name() == method) else {
            let service = quoted(service);
            return Err(format!("{service} has no method {}", quoted(method)));
        };
        if found.is_client_streaming() || found.is_server_streaming() {
            return Err(format!("expected a unary method, {} streams", quoted(method)));
        }
        Ok(found)
    }

    /// A message, for tests.
    #[cfg(test)]
    pub(super) fn message(&self, name: &str) -> prost_reflect::MessageDescriptor {
        self.0.get_message_by_name(name).expect("a message")
    }
}
