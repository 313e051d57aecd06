//! What TLS alone costs: the same bytes, keys and ciphers without RPC, chunks, digests and disks, for the bench to compare with.

use std::sync::Arc;

use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::Credentials;

/// Bytes that are written at a time.
const PIECE: usize = 256 << 10;

/// Sends `bytes` over `connections` of mutual TLS on loopback, each all of them, and comes back when all have arrived.
///
/// # Errors
/// Whatever TCP or TLS says.
pub async fn copy_over_tls(
    server: &Credentials,
    client: &Credentials,
    connections: usize,
    bytes: u64,
) -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let acceptor = TlsAcceptor::from(Arc::clone(&server.loaded().server));
    let connector = TlsConnector::from(Arc::clone(&client.loaded().client));
    let mut tasks: tokio::task::JoinSet<std::io::Result<()>> = tokio::task::JoinSet::new();
    for _ in 0..connections {
        let (connector, name) = (connector.clone(), ServerName::try_from("127.0.0.1"));
        let name = name.map_err(std::io::Error::other)?;
        tasks.spawn(async move {
            let tcp = TcpStream::connect(address).await?;
            let mut tls = connector.connect(name, tcp).await?;
            let mut piece = vec![0; PIECE];
            let mut left = bytes;
            while left > 0 {
                let read = tls.read(&mut piece).await?;
                if read == 0 {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
                left = left.saturating_sub(read as u64);
            }
            Ok(())
        });
        let (tcp, _) = listener.accept().await?;
        let acceptor = acceptor.clone();
        tasks.spawn(async move {
            let mut tls = acceptor.accept(tcp).await?;
            let piece = vec![7; PIECE];
            let mut left = bytes;
            while left > 0 {
                let now = left.min(PIECE as u64);
                tls.write_all(&piece[..now as usize]).await?;
                left -= now;
            }
            tls.flush().await?;
            // The other side hangs up when it has all.
            let _ = tls.shutdown().await;
            Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.map_err(std::io::Error::other)??;
    }
    Ok(())
}
