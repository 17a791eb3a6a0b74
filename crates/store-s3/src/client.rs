//! From options to a client of the SDK: credentials, region, TLS, and everything of the SDK switched
//! off that this crate or a decorator does.

use crate::failure::chain;
use crate::options::{Credentials, OptionsError, S3Options};
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    ProvideCredentials as _, RequestChecksumCalculation, ResponseChecksumValidation,
    SharedCredentialsProvider, SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_smithy_http_client::{Builder, tls};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use std::time::Duration;

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest search for credentials: an instance's metadata service may be asked, and be absent.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(30);
/// The region that other vendors expect in signatures when they have none of their own.
const VENDOR_REGION: &str = "us-east-1";

/// Why a bucket could not be opened. Nothing was asked of the bucket yet.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OpenError {
    /// An option cannot work.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// There are no access keys, or they can't be had.
    #[error(
        "no credentials for S3 ({reason}): set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile that has them, or run where an instance or workload role applies"
    )]
    NoCredentials {
        /// What the SDK's chain said.
        reason: String,
    },
    /// Neither the options nor the environment name a region, and AWS needs one.
    #[error("no region for S3 bucket {bucket}: set it in the options or in AWS_REGION")]
    NoRegion {
        /// The bucket.
        bucket: String,
    },
}

/// Builds the client, after making sure that there are credentials.
pub(crate) async fn connect(options: &S3Options) -> Result<Client, OpenError> {
    options.validate()?;
    let http = http_client(options)?;
    let shared = Box::pin(environment(options, &http)).await;
    let region = match shared.region() {
        Some(region) => region.clone(),
        None => {
            return Err(OpenError::NoRegion {
                bucket: options.bucket.clone(),
            });
        }
    };
    let provider = match &options.credentials {
        Credentials::Chain => shared.credentials_provider(),
        Credentials::Profile { name, file } => {
            Some(profile(name, file.as_deref(), &http, region.clone()))
        }
    };
    let provider = provider.ok_or_else(|| no_credentials("the chain is empty"))?;
    let found = tokio::time::timeout(CREDENTIALS_TIMEOUT, provider.provide_credentials());
    match found.await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => return Err(no_credentials(&chain(&error))),
        Err(_) => return Err(no_credentials("none of the sources answered")),
    }

    let mut config = aws_sdk_s3::config::Builder::from(&shared)
        .region(region)
        .credentials_provider(provider)
        .force_path_style(options.path_style)
        // One layer retries, and it is not this one.
        .retry_config(RetryConfig::disabled())
        // Reads and writes have limits of their own that grow with their bytes.
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .build(),
        )
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        // Checksums are set where they are wanted, as headers: not every vendor takes trailers, and a
        // range has none to validate.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    if let Some(endpoint) = &options.endpoint {
        config = config.endpoint_url(endpoint.as_str().trim_end_matches('/'));
    }
    Ok(Client::from_conf(config.build()))
}

/// TLS by rustls and ring, as everywhere in Holdfast.
fn http_client(options: &S3Options) -> Result<SharedHttpClient, OpenError> {
    // A small container has no certificates of the system's, and debug builds of the SDK panic there.
    let system = rustls_native_certs::load_native_certs().certs;
    let (usable, _) = rustls::RootCertStore::empty().add_parsable_certificates(system);
    let mut trusted = tls::TrustStore::empty().with_native_roots(usable > 0);
    if let Some(file) = &options.ca_file {
        let invalid = |reason: String| OptionsError {
            option: "ca_file",
            reason,
        };
        let pem = fs_err::read(file).map_err(|error| invalid(error.to_string()))?;
        // The SDK panics over what is no certificate, so it is tried here first.
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate =
                certificate.map_err(|error| invalid(format!("{}: {error}", file.display())))?;
            roots
                .add(certificate)
                .map_err(|error| invalid(format!("{}: {error}", file.display())))?;
        }
        if roots.is_empty() {
            return Err(invalid(format!("{} has no certificate", file.display())).into());
        }
        trusted.add_pem_certificate(pem);
    }
    let context = tls::TlsContext::builder()
        .with_trust_store(trusted)
        .build()
        .map_err(|error| OptionsError {
            option: "ca_file",
            reason: chain(&error),
        })?;
    Ok(Builder::new()
        .tls_provider(tls::Provider::rustls(
            tls::rustls_provider::CryptoMode::Ring,
        ))
        .tls_context(context)
        .build_https())
}

/// What the SDK finds in environment and files; the region is asked of it only if need be, since the
/// question may go as far as an instance's metadata service.
async fn environment(options: &S3Options, http: &SharedHttpClient) -> SdkConfig {
    let loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http.clone());
    let given = options.region.clone().map(Region::new);
    let vendor = options
        .endpoint
        .is_some()
        .then(|| Region::from_static(VENDOR_REGION));
    match given.or(vendor) {
        Some(region) => loader.region(region).load().await,
        None => loader.load().await,
    }
}

fn profile(
    name: &str,
    file: Option<&std::path::Path>,
    http: &SharedHttpClient,
    region: Region,
) -> SharedCredentialsProvider {
    let config = ProviderConfig::without_region()
        .with_region(Some(region))
        .with_http_client(http.clone());
    let mut builder = ProfileFileCredentialsProvider::builder()
        .configure(&config)
        .profile_name(name);
    if let Some(file) = file {
        let files = EnvConfigFiles::builder().with_file(EnvConfigFileKind::Credentials, file);
        builder = builder.profile_files(files.build());
    }
    SharedCredentialsProvider::new(builder.build())
}

fn no_credentials(reason: &str) -> OpenError {
    OpenError::NoCredentials {
        reason: reason.to_owned(),
    }
}
