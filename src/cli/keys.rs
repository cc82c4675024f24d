//! `hookwell keys`

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use clap::Subcommand;

use super::{Failure, Outcome};
use crate::signature::SigningKey;

/// Make keys for trying things out
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make an Ed25519 key pair that `hookwell send` signs with
    #[command(after_help = "Example:
  hookwell keys generate --out dev-key.pem

Writes the private key to dev-key.pem (readable by you alone) and the public one to dev-key.pem.pub. A daemon that has this public key in signature.ed25519_keys accepts what the private one signs: keep it out of production.")]
    Generate {
        /// The private key's file; it must not exist
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

pub(super) fn run(args: &Args) -> Outcome {
    let Command::Generate { out } = &args.command;
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| Failure::saying(Failure::SOFTWARE, error))?;
    let key = SigningKey::from_seed(seed);
    let mut public = out.clone().into_os_string();
    public.push(".pub");
    let public = PathBuf::from(public);
    write_new(out, 0o600, &key.to_pkcs8_pem())?;
    write_new(&public, 0o644, &key.public_key_pem())?;
    Ok(write!(
        std::io::stdout(),
        "Private key  {}\nPublic key   {}\n\nFor the configuration of a daemon you try things out with:\n\n\
         [signature]\ned25519_keys = [\"\"\"\n{}\"\"\"]\n",
        out.display(),
        public.display(),
        key.public_key_pem()
    )?)
}

fn write_new(path: &PathBuf, mode: u32, text: &str) -> Outcome {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| {
            Failure::saying(
                Failure::CANNOT_CREATE,
                format!(
                    "cannot write {}: {error}; a key is never overwritten, choose another name",
                    path.display()
                ),
            )
        })
}
