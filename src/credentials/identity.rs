//! TLS towards callers: TLS 1.2 or later, and if an authority is named, nobody without a
//! certificate from it.
//!
//! Every reload makes a configuration of its own: no session is resumed across it. Where callers
//! must show certificates none is resumed at all, because a resumed session does not show one
//! again, and would outlive its certificate. There are no revocation lists.

use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{Error, InconsistentKeys, RootCertStore, ServerConfig};
use zeroize::Zeroizing;

use super::file;
use super::named::{Named, Unusable};
use crate::config::ListenTls;

/// The files that make sense only together.
pub(super) fn files(tls: &ListenTls) -> Vec<Named> {
    let [certificate, key, client_ca] = tls.settings;
    let mut files = vec![(certificate, tls.certificate_file.clone()), (key, tls.key_file.clone())];
    files.extend(tls.client_ca_file.clone().map(|file| (client_ca, file)));
    files
}

/// What callers are met with from now on.
pub(super) fn server_config(tls: &ListenTls) -> Result<ServerConfig, Unusable> {
    let ListenTls { certificate_file, key_file, client_ca_file, settings } = tls;
    let [certificate, key, client_ca] = *settings;
    let (certificate, key) = ((certificate, certificate_file.clone()), (key, key_file.clone()));
    let chain = certificates(&certificate)?;
    let private = private_key(&key)?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|_| Unusable::new(&certificate, "TLS cannot be set up"))?;
    let builder = match client_ca_file {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let named = (client_ca, path.clone());
            let roots = Arc::new(authorities(&named)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            builder.with_client_cert_verifier(
                verifier.build().map_err(|_| Unusable::new(&named, NOT_CERTIFICATES))?,
            )
        }
    };
    let mut config = builder
        .with_single_cert(chain, private)
        .map_err(|error| unfit(&error, &certificate, &key))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    if client_ca_file.is_some() {
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(config)
}

const NOT_CERTIFICATES: &str = "holds no certificate that can be used; it must be a PEM file";

/// The words of rustls's PEM reader are passed over: they quote the file.
fn certificates(named: &Named) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let content = read(named)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&content).collect();
    match found {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) | Err(_) => Err(Unusable::new(named, NOT_CERTIFICATES)),
    }
}

fn authorities(named: &Named) -> Result<RootCertStore, Unusable> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(named)? {
        store.add(certificate).map_err(|_| Unusable::new(named, NOT_CERTIFICATES))?;
    }
    Ok(store)
}

fn private_key(named: &Named) -> Result<PrivateKeyDer<'static>, Unusable> {
    PrivateKeyDer::from_pem_slice(&read(named)?).map_err(|_| {
        let why = "holds no private key; it must be a PEM file with a key that has no passphrase";
        Unusable::new(named, why)
    })
}

fn unfit(error: &Error, certificate: &Named, key: &Named) -> Unusable {
    if let Error::InconsistentKeys(InconsistentKeys::KeyMismatch) = error {
        let certificate = certificate.1.display();
        let why = format!(
            "is not the key of the certificate in {certificate}; put the two of one pair there"
        );
        return Unusable::new(key, why);
    }
    if let Error::InvalidCertificate(_) = error {
        return Unusable::new(certificate, NOT_CERTIFICATES);
    }
    let kinds = "ECDSA (P-256, P-384), Ed25519 or RSA from 2048 bits on";
    Unusable::new(key, format!("is of a kind that cannot be used; take {kinds}"))
}

fn read(named: &Named) -> Result<Zeroizing<Vec<u8>>, Unusable> {
    /// Larger than any chain, or any bundle of all public authorities.
    const LARGEST: usize = 1024 * 1024;
    match file::read(&named.1, LARGEST + 1) {
        Ok(content) if content.len() <= LARGEST => Ok(content),
        Ok(_) => Err(Unusable::new(named, "is larger than 1 MiB; it must be a PEM file")),
        Err(fault) => Err(Unusable::fault(named, fault)),
    }
}
