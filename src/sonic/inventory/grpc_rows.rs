//! The rows of `GRPCCLIENT`, read once for the exporter and its doctor: which table is used, and what the values mean.
//!
//! Pure: takes the tables of CONFIG_DB or of grpc_secrets.json. `grpc_client` decides what follows from the rows, and the
//! doctor what an operator should do about them.

use crate::model::schema;
use crate::model::{Row, Tables};

/// The row that selects plain text or TLS.
pub(super) const CONFIG: &str = "config";
/// The row with the files.
pub(super) const CERTS: &str = "certs";
const TYPE: &str = "type";
const AUTH_LEVEL: &str = "auth_level";
const SERVER_NAME: &str = "grpc_ssl_credential";
/// This field has no effect, whatever its value. It only shows that there is a row.
pub(super) const LOG_LEVEL: &str = "log_level";

/// What is read from the rows `config` and `certs`.
pub(super) const FIELDS: &[&str] = &[
    TYPE,
    AUTH_LEVEL,
    LOG_LEVEL,
    GrpcFile::Ca.field(),
    GrpcFile::ClientCert.field(),
    GrpcFile::ClientKey.field(),
    SERVER_NAME,
];

/// A file that `certs` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrpcFile {
    /// The certificates to trust.
    Ca,
    /// Our certificate.
    ClientCert,
    /// Its key.
    ClientKey,
}

impl GrpcFile {
    /// The field that has its path.
    pub const fn field(self) -> &'static str {
        match self {
            Self::Ca => "ca_crt",
            Self::ClientCert => "client_crt",
            Self::ClientKey => "client_key",
        }
    }
}

/// `config`'s `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrpcType<'a> {
    /// There is no row or no such field, or the field is empty.
    Absent,
    /// Plain text.
    Insecure,
    /// TLS.
    Secure,
    /// A value without a meaning.
    Other(&'a str),
}

/// `config`'s `auth_level`, for TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthLevel<'a> {
    /// The same as `Server`.
    Absent,
    /// The SoC sends a certificate.
    Server,
    /// Both sides send one: the value that ycabled knows.
    Mutual,
    /// The same as `Mutual`: the value of SONiC's YANG model.
    Client,
    /// A value without a meaning.
    Other(&'a str),
}

impl AuthLevel<'_> {
    /// Whether we send a certificate.
    pub fn is_mutual(self) -> bool {
        matches!(self, Self::Mutual | Self::Client)
    }
}

/// The content of one place.
#[derive(Debug, Clone, Copy)]
pub struct GrpcRows<'a> {
    config: Option<(&'static str, &'a Row)>,
    certs: Option<&'a Row>,
}

impl<'a> GrpcRows<'a> {
    /// The rows in these tables. If a row is in both names of the table, the deployed name is used.
    pub fn of(tables: &'a Tables) -> Self {
        let row = |key| {
            let mut names = schema::GRPC_CLIENTS.into_iter();
            names.find_map(|table| Some((table, tables.row(table, key)?)))
        };
        Self {
            config: row(CONFIG),
            certs: row(CERTS).map(|(_, row)| row),
        }
    }

    /// The table of the row `config`. `None`: there is no such row.
    pub fn table(&self) -> Option<&'static str> {
        self.config.map(|(table, _)| table)
    }

    /// Plain text or TLS.
    pub fn kind(&self) -> GrpcType<'a> {
        match self.setting(TYPE) {
            None => GrpcType::Absent,
            Some("insecure") => GrpcType::Insecure,
            Some("secure") => GrpcType::Secure,
            Some(other) => GrpcType::Other(other),
        }
    }

    /// Which sides send a certificate.
    pub fn auth_level(&self) -> AuthLevel<'a> {
        match self.setting(AUTH_LEVEL) {
            None => AuthLevel::Absent,
            Some("server") => AuthLevel::Server,
            Some("mutual") => AuthLevel::Mutual,
            Some("client") => AuthLevel::Client,
            Some(other) => AuthLevel::Other(other),
        }
    }

    /// The path of a file, if `certs` names one.
    pub fn file(&self, file: GrpcFile) -> Option<&'a str> {
        value(self.certs?, file.field())
    }

    /// The name in the SoCs' certificates.
    pub fn server_name(&self) -> Option<&'a str> {
        value(self.certs?, SERVER_NAME)
    }

    fn setting(&self, name: &str) -> Option<&'a str> {
        value(self.config?.1, name)
    }
}

/// A field that is not empty.
fn value<'a>(row: &'a Row, name: &str) -> Option<&'a str> {
    row.get(name)
        .map(|value| value.trim())
        .filter(|value| !value.is_empty())
}
