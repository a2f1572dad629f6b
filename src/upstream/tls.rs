//! Whom to trust: always verified, TLS 1.2 or later, one CA file or the platform's roots.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, fs};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// Why no TLS configuration could be made.
#[derive(Debug)]
pub enum TlsError {
    /// The CA file cannot be read or is not PEM.
    CaFile(PathBuf, String),
    /// The CA file has no certificate in it.
    NoCertificate(PathBuf),
    /// rustls refuses its own defaults; a defect of ours.
    Defaults(rustls::Error),
}

/// Where the trusted roots come from, for the start's log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Roots {
    /// `upstream.ca_file`.
    CaFile,
    /// The system's store.
    Platform,
    /// Mozilla's list, compiled in; images without a store fall back to it.
    CompiledIn,
}

/// Settings for connections to the upstream.
///
/// # Errors
/// [`TlsError`], if the CA file is of no use.
pub fn client_config(ca_file: Option<&Path>) -> Result<(Arc<ClientConfig>, Roots), TlsError> {
    let (store, roots) = roots(ca_file)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(TlsError::Defaults)?
        .with_root_certificates(store)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((Arc::new(config), roots))
}

fn roots(ca_file: Option<&Path>) -> Result<(RootCertStore, Roots), TlsError> {
    let mut store = RootCertStore::empty();
    if let Some(path) = ca_file {
        let unusable = |why: &dyn fmt::Display| TlsError::CaFile(path.to_owned(), why.to_string());
        let content = fs::read(path).map_err(|error| unusable(&error))?;
        for certificate in CertificateDer::pem_slice_iter(&content) {
            // The reader's own words quote the line; if the wrong file is named, it may be a secret.
            let certificate = certificate.map_err(|_| unusable(&"is no PEM"))?;
            store.add(certificate).map_err(|error| unusable(&error))?;
        }
        if store.is_empty() {
            return Err(TlsError::NoCertificate(path.to_owned()));
        }
        return Ok((store, Roots::CaFile));
    }
    let platform = rustls_native_certs::load_native_certs();
    for error in platform.errors {
        tracing::warn!(%error, "the platform's certificates cannot all be read");
    }
    // Single ones that cannot be used are passed over, as everybody does.
    store.add_parsable_certificates(platform.certs);
    if store.is_empty() {
        store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        return Ok((store, Roots::CompiledIn));
    }
    Ok((store, Roots::Platform))
}

impl std::error::Error for TlsError {}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CaFile(path, why) => {
                write!(f, "upstream.ca_file: {}: {why}; name a PEM file", path.display())
            }
            Self::NoCertificate(path) => {
                write!(f, "upstream.ca_file: {}: has no certificate in it", path.display())
            }
            Self::Defaults(error) => write!(f, "TLS cannot be set up: {error}"),
        }
    }
}

impl fmt::Display for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CaFile => "ca_file",
            Self::Platform => "platform",
            Self::CompiledIn => "compiled in",
        })
    }
}
