//! The HTTP client of a server: TLS, proxy, timeouts, and the name that its certificate
//! is for.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder, Proxy, Url};
use strongroom_core::{Error, Result, SecretBytes};
use tokio::net::lookup_host;

use crate::settings::VaultSettings;

/// Clients of the servers at `settings.addresses`, in their order, each with the URL
/// that it asks. Those that need not be told apart share their connections.
pub(super) fn clients(settings: &VaultSettings) -> Result<Vec<(Client, String)>> {
    let shared = build(builder(settings)?)?;
    let of = |address: &String| {
        let address = address.trim_end_matches('/');
        let Some(name) = &settings.server_name else {
            return Ok((shared.clone(), address.to_owned()));
        };
        let (base, resolver) = renamed(address, name)?;
        Ok((build(builder(settings)?.dns_resolver(Arc::new(resolver)))?, base))
    };
    settings.addresses.iter().map(of).collect()
}

fn builder(settings: &VaultSettings) -> Result<ClientBuilder> {
    let mut builder = Client::builder()
        .tls_backend_rustls()
        .connect_timeout(settings.connect_timeout)
        .timeout(settings.attempt_timeout)
        .redirect(Policy::none())
        .no_proxy();
    if let Some(file) = &settings.ca_file {
        let pem = read_pem(file)?;
        let unusable = |_| {
            let what = format!("there is no certificate in {}", file.display());
            Error::configuration(what)
        };
        let certificates = Certificate::from_pem_bundle(&pem).map_err(unusable)?;
        if certificates.is_empty() {
            let what = format!("there is no certificate in {}", file.display());
            return Err(Error::configuration(what));
        }
        builder = builder.tls_certs_only(certificates);
    } else if settings.addresses.iter().all(|address| address.starts_with("http://")) {
        // Nothing is verified, and the system's certificates need not be there.
        builder = builder.tls_certs_only(Vec::new());
    }
    if let Some(certificate) = &settings.client_certificate {
        let mut pem = read_pem(&certificate.chain)?;
        pem.push(b'\n');
        pem.extend_from_slice(certificate.key.expose());
        // The library keeps a key of its own for as long as the connection is used.
        let pem = SecretBytes::take(pem)?;
        let identity = reqwest::Identity::from_pem(pem.expose()).map_err(|_| {
            let chain = certificate.chain.display();
            Error::configuration(format!(
                "the client certificate {chain} and its key are not a pair in PEM"
            ))
        })?;
        builder = builder.identity(identity);
    }
    if let Some(url) = &settings.proxy {
        let url = std::str::from_utf8(url.expose()).unwrap_or_default();
        let proxy = Proxy::all(url).map_err(|_| {
            // Not the URL: it may hold a password.
            Error::configuration("the proxy is no URL: it is http://HOST:PORT")
        })?;
        builder = builder.proxy(proxy);
    }
    Ok(builder)
}

fn build(builder: ClientBuilder) -> Result<Client> {
    builder.build().map_err(|error| {
        Error::configuration("TLS for Vault cannot be set up as configured").with_source(error)
    })
}

fn read_pem(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).map_err(|error| {
        let what = format!("the certificates {} cannot be read: {error}", file.display());
        Error::configuration(what).with_source(error)
    })
}

/// `address` with the name that its certificate is for, and who finds it by that name.
fn renamed(address: &str, name: &str) -> Result<(String, Elsewhere)> {
    let unusable = || Error::configuration(format!("{} is no server_name", name.escape_debug()));
    let mut url = Url::parse(address).map_err(|_| unusable())?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    if name.parse::<IpAddr>().is_ok() || url.set_host(Some(name)).is_err() {
        return Err(unusable());
    }
    Ok((url.as_str().trim_end_matches('/').to_owned(), Elsewhere { host }))
}

/// Finds every name at one host.
struct Elsewhere {
    host: String,
}

impl Resolve for Elsewhere {
    fn resolve(&self, _: Name) -> Resolving {
        let host = self.host.clone();
        Box::pin(async move {
            if let Ok(address) = host.parse::<IpAddr>() {
                let found: Addrs = Box::new(std::iter::once(SocketAddr::new(address, 0)));
                return Ok(found);
            }
            let found: Addrs =
                Box::new(lookup_host((host, 0)).await?.collect::<Vec<_>>().into_iter());
            Ok(found)
        })
    }
}
