//! `hookwell keys`: makes a key for development, and rotates those that seal tokens.

use std::fs::{self, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use zeroize::Zeroizing;

use super::{ConfigArgs, Failure, Outcome};
use crate::follow_up::tokens;
use crate::key_file::KeyFile;
use crate::operator::action;
use crate::seal::{self, Keyring};
use crate::signature::SigningKey;
use crate::{app, chance, clock};

/// Keys: for trying things out, and those that seal tokens
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
    /// Put a new key in front of the file that seals tokens, and seal what is stored with it
    #[command(after_help = "Examples:
  hookwell keys rotate --file token-keys                                  # makes the file
  hookwell keys rotate --file token-keys --config hookwell.toml           # while daemons run
  hookwell keys rotate --file token-keys --config hookwell.toml --drop    # and forgets the old keys

A running daemon reads the file again when it meets a new key. With daemons on several machines, give each the new file before stored tokens are sealed again: first without --config, then copy, then with --config --keep.")]
    Rotate {
        /// The key file (ghl.token_keys_file); made if it is not there, else its owner and mode stay
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
        /// Seal what is stored with the newest key; without it only the file changes
        #[command(flatten)]
        config: ConfigArgs,
        /// Make no new key: seal what is stored with the newest one there is
        #[arg(long)]
        keep: bool,
        /// Forget the old keys when nothing is sealed with them any more
        #[arg(long, requires = "config")]
        drop: bool,
    },
}

pub(super) async fn run(args: Args) -> Outcome {
    match args.command {
        Command::Generate { out } => generate(&out),
        Command::Rotate {
            file,
            config,
            keep,
            drop,
        } => rotate(&file, &config, keep, drop).await,
    }
}

async fn rotate(file: &Path, config: &ConfigArgs, keep: bool, drop: bool) -> Outcome {
    let mut out = std::io::stdout();
    let _locked = lock(file)?;
    if !keep {
        let name = add_key(file)?;
        writeln!(
            out,
            "The key {name} is the first one of {}.",
            file.display()
        )?;
    }
    if config.config.is_none() {
        return Ok(());
    }
    let config = config.load()?;
    let store = app::open_store_beside(&config.store).await?;
    let keys =
        KeyFile::open(file.to_owned()).map_err(|error| Failure::new(Failure::CONFIG, error))?;
    let done = tokens::reseal(store.as_ref(), &keys, &chance::system()).await?;
    let sealed = done.sealed;
    let newest = keys.keys().current().to_owned();
    super::operator(store)
        .note(action::ROTATE_KEYS, &format!("key {newest}"), sealed)
        .await;
    if !done.unopened.is_empty() {
        let named = done.unopened.iter().take(10);
        let named: Vec<_> = named
            .map(|(app, tenant)| format!("{tenant} of app {app}"))
            .collect();
        return Err(Failure::saying(
            Failure::PARTLY,
            format!(
                "{sealed} tokens are sealed with {newest} now, and {} open with no key of {}: {}{}. Put the lines of their keys \
                 back, or have the app authorised there again; no key was dropped",
                done.unopened.len(),
                file.display(),
                named.join(", "),
                if named.len() < done.unopened.len() {
                    ", …"
                } else {
                    ""
                }
            ),
        ));
    }
    writeln!(
        out,
        "{sealed} tokens are sealed with {newest} now; none is sealed with another key."
    )?;
    if drop {
        let text = read(file)?;
        let mut lines = text.lines().map(str::trim);
        let first = lines.find(|line| !line.is_empty() && !line.starts_with('#'));
        let kept = first.filter(|line| line.split_whitespace().next() == Some(newest.as_str()));
        let Some(kept) = kept else {
            return Err(Failure::saying(
                Failure::CONFIG,
                format!(
                    "{} was changed meanwhile; no key was dropped",
                    file.display()
                ),
            ));
        };
        replace(file, &Zeroizing::new(format!("{kept}\n")))?;
        writeln!(out, "{} holds {newest} alone.", file.display())?;
    }
    Ok(())
}

/// Held while keys are rotated: of two rotations at once one could write the file without the key that the other has sealed
/// tokens with already. The file itself is replaced, so its folder is what is locked; the kernel gives it back with the process.
fn lock(file: &Path) -> Result<fs::File, Failure> {
    let folder = folder(file);
    let failed = |error: io::Error| {
        let said = match error.kind() {
            io::ErrorKind::NotFound => format!(
                "there is no folder {}: make it, or name a file in one that is there",
                folder.display()
            ),
            _ => format!("cannot lock the folder {}: {error}", folder.display()),
        };
        Failure::saying(Failure::CANNOT_CREATE, said)
    };
    let opened = fs::File::open(folder).map_err(failed)?;
    match opened.try_lock() {
        Ok(()) => Ok(opened),
        Err(TryLockError::WouldBlock) => Err(Failure::saying(
            Failure::UNAVAILABLE,
            format!(
                "another `hookwell keys rotate` is at work on a file of {}; nothing was changed, run this again when it is done",
                folder.display()
            ),
        )),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

fn folder(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Puts a new key in front of those that are there; its name.
fn add_key(file: &Path) -> Result<String, Failure> {
    let mut key = Zeroizing::new([0; seal::KEY_BYTES]);
    getrandom::fill(&mut *key).map_err(|error| Failure::saying(Failure::SOFTWARE, error))?;
    let before = match file.exists() {
        true => read(file)?,
        false => Zeroizing::new(String::new()),
    };
    if !before.trim().is_empty() {
        Keyring::parse(&before).map_err(|error| {
            Failure::saying(Failure::CONFIG, format!("{}: {error}", file.display()))
        })?;
    }
    let now = clock::rfc3339(clock::system()());
    let moment: String = now.chars().filter(char::is_ascii_digit).take(17).collect();
    let name = format!("k{moment}");
    replace(
        file,
        &Zeroizing::new(format!("{}{}", *Keyring::line(&name, &key), *before)),
    )?;
    Ok(name)
}

fn read(file: &Path) -> Result<Zeroizing<String>, Failure> {
    std::fs::read_to_string(file)
        .map(Zeroizing::new)
        .map_err(|error| {
            Failure::saying(
                Failure::NO_INPUT,
                format!("cannot read {}: {error}", file.display()),
            )
        })
}

/// Replaces a file as a whole: a daemon may be reading it. Owner, group and mode are those of the file that was
/// there; a new one is readable by its owner alone.
fn replace(file: &Path, text: &str) -> Outcome {
    let failed = |error: io::Error| {
        Failure::saying(
            Failure::CANNOT_CREATE,
            format!("cannot write {}: {error}", file.display()),
        )
    };
    let before = match fs::metadata(file) {
        Ok(before) => Some(before),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed(error)),
    };
    let mut fresh = file.to_path_buf().into_os_string();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    // One that is left from a run that was cut off.
    let _ = fs::remove_file(&fresh);
    let replaced = write_like(&fresh, before.as_ref(), text)
        .and_then(|()| fs::rename(&fresh, file))
        .and_then(|()| fs::File::open(folder(file))?.sync_all());
    replaced.map_err(|error| {
        let _ = fs::remove_file(&fresh);
        failed(error)
    })
}

/// Writes a new file, with owner, group and mode of another one where there is one. It is given away before its mode is
/// widened, and before anything is in it.
fn write_like(fresh: &Path, before: Option<&fs::Metadata>, text: &str) -> io::Result<()> {
    let mut file = new_file(fresh, 0o600)?;
    if let Some(before) = before {
        let own = file.metadata()?;
        if (own.uid(), own.gid()) != (before.uid(), before.gid()) {
            fchown(&file, Some(before.uid()), Some(before.gid())).map_err(|error| {
                let text = format!("it would not belong to the same user and group any more ({error}): run this as root");
                io::Error::new(error.kind(), text)
            })?;
        }
        file.set_permissions(fs::Permissions::from_mode(before.mode() & 0o777))?;
    }
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn new_file(path: &Path, mode: u32) -> io::Result<fs::File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
}

fn generate(out: &Path) -> Outcome {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| Failure::saying(Failure::SOFTWARE, error))?;
    let key = SigningKey::from_seed(seed);
    let mut public = out.to_path_buf().into_os_string();
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

fn write_new(path: &Path, mode: u32, text: &str) -> Outcome {
    new_file(path, mode)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
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
