//! What the configuration names on this machine: addresses, sockets, directories.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _};
use std::path::Path;

use tokio::net::{TcpListener, TcpSocket, UnixListener};

use super::StartError;
use crate::config::{self, Config, ConfigError, KeyPath};

/// Connections that may wait to be accepted. One that finds no room is only asked for again after a second and more.
const BACKLOG: u32 = 1024;

/// What a key names, and the system refused. Where only a person can put that right, it is a mistake of
/// the configuration.
pub(super) fn unusable(config: &Config, key: &str, what: String, source: io::Error) -> StartError {
    let needs_a_person = matches!(
        source.kind(),
        io::ErrorKind::NotFound
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::AlreadyExists
            | io::ErrorKind::InvalidInput
    );
    if needs_a_person {
        let expected = format!("another value: {what} is unusable ({source})");
        return StartError::Configuration(config.error_at(key, expected).into());
    }
    let key = KeyPath::new(key);
    StartError::Unusable { at: config.at(&key), key, what, source }
}

/// Mails as files go where there may be no directory yet: the default lies in the state directory, which
/// must be empty before the store is created.
pub(super) fn create_mail_directory(config: &Config) -> Result<(), StartError> {
    let config::Transport::File { directory } = &config.mail.transport else {
        return Ok(());
    };
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if !directory.is_dir() => {
            let what = directory.display().to_string();
            Err(unusable(config, "mail.file.directory", what, error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Directories that the service manager or the daemon makes, and that are not there yet. The daemon
/// cannot start without the first two.
pub(super) fn missing_directories(config: &Config) -> Vec<ConfigError> {
    let parent = |path: &'_ Path| path.parent().unwrap_or(Path::new("/")).to_owned();
    let mut wanted = vec![
        ("state.directory", config.state.directory.clone()),
        ("admin.socket", parent(&config.admin.socket)),
    ];
    if let config::Transport::File { directory } = &config.mail.transport {
        wanted.push(("mail.file.directory", parent(directory)));
    }
    wanted
        .into_iter()
        .filter(|(_, directory)| !directory.as_os_str().is_empty() && !directory.is_dir())
        .map(|(key, directory)| {
            config.error_at(key, format!("an existing directory {}", directory.display()))
        })
        .collect()
}

/// Binds the address of this key. Returns the one that a free port was found at, too.
pub(super) fn bind(
    config: &Config,
    key: &str,
    address: SocketAddr,
) -> Result<(TcpListener, SocketAddr), StartError> {
    let listen = || {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        // As `TcpListener::bind` does: a restart need not wait for earlier connections.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    listen().map_err(|source| unusable(config, key, address.to_string(), source))
}

/// Binds the admin socket. A socket that was left behind is removed: the store's lock guarantees that no
/// other process serves this state. One that is in use is left alone, and so is any other file.
pub(super) fn bind_socket(config: &Config) -> Result<UnixListener, StartError> {
    let path = config.admin.socket.as_path();
    let failed = |source| unusable(config, "admin.socket", path.display().to_string(), source);
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(failed(io::ErrorKind::AddrInUse.into()));
    }
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => {
            fs::remove_file(path).map_err(failed)?;
        }
        Ok(_) => {
            let cause = "the existing file is not a socket";
            return Err(failed(io::Error::new(io::ErrorKind::AlreadyExists, cause)));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    fs::set_permissions(path, Permissions::from_mode(0o660)).map_err(failed)?;
    Ok(listener)
}
