//! `cloister director`

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use cloister_net::director::Director;
use tokio::runtime::Runtime;

use crate::output;

#[derive(Debug, Args)]
pub(crate) struct DirectorArgs {
    /// The director's folder, as `cloister federation init` makes it
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

pub(crate) fn run(args: &DirectorArgs) -> Result<()> {
    runtime()?.block_on(async {
        let director = Director::bind(&args.dir, output::log).await?;
        output::log(&format!(
            "envoys and operators call at {}",
            director.address()?
        ));
        match director.page_address()? {
            Some(page) => output::log(&format!("the page is at http://{page}")),
            None => output::log("no page: director.toml has no key page"),
        }
        director.run(stopped()).await?;
        output::log("stopped; experiments under way go on when the director is started again");
        Ok(())
    })
}

/// What commands that call or are called run on.
pub(crate) fn runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start threads")
}

/// Comes back at Ctrl-C, or when the system asks the process to end.
pub(crate) async fn stopped() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut asked) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = asked.recv() => {}
            }
            return;
        }
    }
    // Without a handler the system ends the process by itself.
    let _ = tokio::signal::ctrl_c().await;
}
