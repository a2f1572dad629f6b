//! The sandbox's certificate authority and its one certificate, made at every start.
//!
//! The authority's key is dropped once it has signed; nothing is written to disk.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// What the leaf is valid for.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What the sandbox proves itself with.
pub(super) struct Identity {
    pub(super) config: Arc<ServerConfig>,
    /// What a client must trust, as PEM.
    pub(super) ca_pem: String,
    pub(super) handshakes: Handshakes,
}

/// How many handshakes were begun.
#[derive(Debug, Clone, Default)]
pub(super) struct Handshakes(Arc<AtomicU64>);

impl Handshakes {
    pub(super) fn count(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Identity {
    /// A new one, for a month from yesterday: clients' clocks may be behind.
    pub(super) fn generate() -> io::Result<Self> {
        let provider = Arc::new(ring::default_provider());
        let (ca_pem, leaf) = certify(&provider).map_err(io::Error::other)?;
        let handshakes = Handshakes::default();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Presents {
                leaf: Arc::new(leaf),
                handshakes: handshakes.clone(),
            }));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), ca_pem, handshakes })
    }
}

/// Always the same certificate; asked once in every handshake, also a resumed one.
#[derive(Debug)]
struct Presents {
    leaf: Arc<CertifiedKey>,
    handshakes: Handshakes,
}

impl ResolvesServerCert for Presents {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.handshakes.0.fetch_add(1, Relaxed);
        Some(Arc::clone(&self.leaf))
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn certify(provider: &CryptoProvider) -> Result<(String, CertifiedKey), Failure> {
    let mut ca = params(Vec::new(), "innopaas-proxy sandbox CA")?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_key = KeyPair::generate()?;
    let ca_pem = ca.self_signed(&ca_key)?.pem();
    let issuer = Issuer::new(ca, ca_key);

    let mut leaf = params(NAMES.map(str::to_owned).to_vec(), "localhost")?;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.use_authority_key_identifier_extension = true;
    let leaf_key = KeyPair::generate()?;
    let certificate = leaf.signed_by(&leaf_key, &issuer)?;
    let key = PrivatePkcs8KeyDer::from(leaf_key.serialize_der());
    let leaf = CertifiedKey::from_der(vec![certificate.der().clone()], key.into(), provider)?;
    Ok((ca_pem, leaf))
}

fn params(names: Vec<String>, common_name: &str) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    let now = SystemTime::now();
    params.not_before = (now - DAY).into();
    params.not_after = (now + 30 * DAY).into();
    Ok(params)
}
