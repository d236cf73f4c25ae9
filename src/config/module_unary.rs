//! `grpc_unary` of a module: the method, its schema, what is sent, and what the reply must be.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::module_scalars::unique;
use super::raw_unary::{MethodName, RawSchema, RawStatuses, RawTests, RawUnary, ReplyPathText};
use super::scalar::{Scalar as _, Value};
use super::{KeyError, at, schema_files};
use crate::model::{ProbeResult, ReplyTest, UnaryCheck, UnarySchema};
use crate::unary::{Call, Misfit, TypePool};

/// The longest request, in bytes of JSON.
const MOST_REQUEST: usize = 64 * 1024;
const MOST_FIELDS: usize = 64;
const MOST_INFO: usize = 8;
const MOST_VALUES: usize = 8;
/// Services that have a kind of their own, or of which an RPC changes something.
const OWN_KIND: [&str; 5] = [
    "DualToRActive",
    "GracefulRestart",
    "gribi.gRIBI",
    "InfoService",
    "RpcServerService",
];

/// The meaning of the key. Reads the files of the schema; relative paths start at `base`.
pub(super) fn unary_check(raw: RawUnary, base: &Path, key: &str) -> Result<UnaryCheck, KeyError> {
    let MethodName { service, method } = raw.method.0;
    if OWN_KIND.contains(&&*service) || service.starts_with("grpc.reflection.") {
        let message = format!(
            "expected a method of another service: {service} is only called by the kind that is made for it"
        );
        return at(&format!("{key}.method"), message);
    }
    let request = raw.request.to_string();
    if request.len() > MOST_REQUEST {
        return at(
            &format!("{key}.request"),
            format!("expected at most {MOST_REQUEST} bytes, got {}", request.len()),
        );
    }
    let statuses = statuses(raw.expect.status, &format!("{key}.expect.status"))?;
    let fields = fields(raw.expect.fields, &format!("{key}.expect.fields"))?;
    let info = info(raw.info, &format!("{key}.info"))?;
    let values = values(raw.values, &format!("{key}.values"))?;
    if !statuses.contains(&ProbeResult::Ok) {
        let reads = [
            ("expect.fields", fields.is_empty()),
            ("info", info.is_empty()),
            ("values", values.is_empty()),
        ];
        if let Some((read, _)) = reads.iter().find(|(_, is_empty)| !is_empty) {
            let message = format!("expected OK among {key}.expect.status: only the replies of OK are read");
            return at(&format!("{key}.{read}"), message);
        }
    }
    let (schema, types) = schema(raw.schema, base, &format!("{key}.schema"))?;
    let check = UnaryCheck {
        service: service.into(),
        method: method.into(),
        schema,
        request: request.into(),
        statuses,
        fields,
        info,
        values,
    };
    if let Some(types) = types {
        let call = Call::new(&types, &check);
        call.map_err(|Misfit { key: below, text }| (format!("{key}.{below}"), text))?;
    }
    Ok(check)
}

/// With files also their types.
fn schema(
    raw: Option<RawSchema>,
    base: &Path,
    key: &str,
) -> Result<(UnarySchema, Option<Arc<TypePool>>), KeyError> {
    let Some(raw) = raw else {
        return Ok((UnarySchema::Reflection, None));
    };
    let (files, key) = match (raw.descriptor_set, raw.proto) {
        (Some(set), None) => {
            let key = format!("{key}.descriptor_set");
            (
                schema_files::of_set(&base.join(set)).or_else(|text| at(&key, text))?,
                key,
            )
        }
        (None, Some(proto)) => {
            let key = format!("{key}.proto");
            (
                schema_files::compiled(&base.join(proto)).or_else(|text| at(&key, text))?,
                key,
            )
        }
        _ => return at(key, "expected exactly one of descriptor_set and proto"),
    };
    let encoded = files.encoded();
    let types = files.types().or_else(|error| at(&key, error.to_string()))?;
    Ok((UnarySchema::Files(encoded), Some(types)))
}

fn statuses(raw: Option<RawStatuses>, key: &str) -> Result<Vec<ProbeResult>, KeyError> {
    let Some(RawStatuses(codes)) = raw else {
        return Ok(vec![ProbeResult::Ok]);
    };
    unique(codes.into_iter(), ProbeResult::COUNT, key)
}

type ExpectedFields = Vec<(Arc<str>, Vec<ReplyTest>)>;

fn fields(raw: BTreeMap<String, RawTests>, key: &str) -> Result<ExpectedFields, KeyError> {
    if raw.len() > MOST_FIELDS {
        return at(key, format!("expected at most {MOST_FIELDS}, got {}", raw.len()));
    }
    let mut fields = Vec::with_capacity(raw.len());
    for (path, RawTests(tests)) in raw {
        if ReplyPathText::parse(&path).is_none() {
            return at(
                &format!("{key}.{path}"),
                format!("expected {}", ReplyPathText::EXPECTED),
            );
        }
        fields.push((path.into(), tests));
    }
    Ok(fields)
}

type InfoLabels = Vec<(Arc<str>, Arc<str>)>;

/// The labels, and their paths.
fn info(raw: Vec<Value<ReplyPathText>>, key: &str) -> Result<InfoLabels, KeyError> {
    if raw.len() > MOST_INFO {
        return at(key, format!("expected at most {MOST_INFO}, got {}", raw.len()));
    }
    let mut info: InfoLabels = Vec::with_capacity(raw.len());
    for (n, Value(ReplyPathText(path))) in raw.into_iter().enumerate() {
        let key = format!("{key}[{n}]");
        let label: Arc<str> = path.replace(|c: char| !c.is_ascii_alphanumeric(), "_").into();
        let begins = label.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !begins || label.starts_with("__") || ["module", "target"].contains(&&*label) {
            return at(
                &key,
                format!("expected a path that makes another label than {label}"),
            );
        }
        if let Some((_, other)) = info.iter().find(|(known, _)| *known == label) {
            return at(&key, format!("expected each label once: {other} is {label}, too"));
        }
        info.push((label, path.into()));
    }
    Ok(info)
}

fn values(raw: Vec<Value<ReplyPathText>>, key: &str) -> Result<Vec<Arc<str>>, KeyError> {
    if raw.is_empty() {
        return Ok(Vec::new());
    }
    let paths = raw.into_iter().map(|Value(ReplyPathText(path))| Arc::from(path));
    unique(paths, MOST_VALUES, key)
}
