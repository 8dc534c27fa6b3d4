//! Messages as files instead of mails, for trials and for what picks them up from there.
//!
//! One `.eml` a message and address. Its name depends on the `Message-ID` and the address alone, so that
//! a repeat overwrites its first copy, and reveals neither. The recipient is in two header
//! lines in front, `Return-Path` and `Delivered-To`. A file under its final name is whole and durable.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::domain::address::{EmailAddress, MessageId};
use crate::domain::delivery::{Reply, Stage};
use crate::domain::id::Digest;

use super::message::Message;
use super::outcome::Failure;

/// Invoices are for the daemon's user only.
const FILE_MODE: u32 = 0o600;
/// Digits of the digest in a file's name.
const NAME_DIGITS: usize = 32;

/// Writes messages to one directory.
#[derive(Debug)]
pub struct FileTransport {
    directory: PathBuf,
}

impl FileTransport {
    /// `directory` must exist when a connection is opened.
    #[must_use]
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) async fn connect(&self) -> Result<FileConnection, Failure> {
        let metadata = tokio::fs::metadata(&self.directory)
            .await
            .map_err(|error| Failure::io(Stage::Connect, &error))?;
        if !metadata.is_dir() {
            return Err(Failure::silence(
                Stage::Connect,
                "the path for messages is not a directory",
            ));
        }
        Ok(FileConnection { directory: self.directory.clone() })
    }
}

/// Writes messages one after the other.
#[derive(Debug)]
pub struct FileConnection {
    directory: PathBuf,
}

/// A message that is to be written.
#[derive(Debug)]
pub struct FileMessage {
    connection: FileConnection,
    from: EmailAddress,
    to: EmailAddress,
}

impl FileConnection {
    pub(super) fn begin(self, from: &EmailAddress, to: &EmailAddress) -> FileMessage {
        FileMessage { connection: self, from: from.clone(), to: to.clone() }
    }
}

impl FileMessage {
    pub(super) async fn finish(
        self,
        message: &Message,
    ) -> Result<(Reply, FileConnection), Failure> {
        let Self { connection, from, to } = self;
        let directory = connection.directory.clone();
        let name = file_name(message.id(), &to);
        let mut content = format!("Return-Path: <{from}>\r\nDelivered-To: {to}\r\n").into_bytes();
        content.extend_from_slice(message.bytes());
        tokio::task::spawn_blocking(move || write(&directory, &name, &content))
            .await
            .map_err(|_| Failure::silence(Stage::FinalDot, "the file may not have been written"))?
            .map_err(|(stage, error)| Failure::io(stage, &error))?;
        let reply = Reply { code: 250, enhanced: None, text: "written to a file".to_owned() };
        Ok((reply, connection))
    }
}

/// From the renaming on, the file may be there after a fault.
fn write(directory: &Path, name: &str, content: &[u8]) -> Result<(), (Stage, io::Error)> {
    let temporary = directory.join(format!(".{name}.part"));
    write_synced(&temporary, content).map_err(|error| (Stage::Body, error))?;
    std::fs::rename(&temporary, directory.join(name))
        .and_then(|()| File::open(directory)?.sync_all())
        .map_err(|error| (Stage::FinalDot, error))
}

fn write_synced(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).open(path)?;
    // What a crash left behind keeps its mode.
    file.set_permissions(Permissions::from_mode(FILE_MODE))?;
    file.write_all(content)?;
    file.sync_all()
}

/// The same for the same message to the same address.
fn file_name(id: &MessageId, to: &EmailAddress) -> String {
    let digest = Digest::of(format!("{to}\0{}", id.as_str()).as_bytes()).to_string();
    format!("{}.eml", &digest[..NAME_DIGITS])
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] = b"Subject: a\r\nMessage-ID: <1@muster.example>\r\n\r\n.text\r\n";

    fn address(raw: &str) -> EmailAddress {
        EmailAddress::parse(raw).unwrap()
    }

    fn id(raw: &str) -> MessageId {
        MessageId::parse(raw).unwrap()
    }

    async fn send(
        directory: &Path,
        to: &str,
        id: &MessageId,
        bytes: &[u8],
    ) -> Result<Reply, Failure> {
        let message = Message::parse(bytes.to_vec(), id.clone(), bytes.len()).unwrap();
        let transport = FileTransport::new(directory.to_owned());
        let begun =
            transport.connect().await?.begin(&address("rechnung@haus.example"), &address(to));
        begun.finish(&message).await.map(|(reply, _)| reply)
    }

    fn files(directory: &Path) -> Vec<PathBuf> {
        let mut files: Vec<_> =
            std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }

    #[tokio::test]
    async fn a_file_names_its_envelope_and_holds_the_message_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let reply =
            send(directory.path(), "erika@muster.example", &id("1@muster.example"), MESSAGE).await;
        assert_eq!(reply.unwrap().code, 250);
        let files = files(directory.path());
        assert_eq!(files.len(), 1);
        assert_eq!(files[0].extension().unwrap(), "eml");
        let content = std::fs::read(&files[0]).unwrap();
        let head =
            b"Return-Path: <rechnung@haus.example>\r\nDelivered-To: erika@muster.example\r\n";
        assert_eq!(content, [head.as_slice(), MESSAGE].concat());
        let mode = std::fs::metadata(&files[0]).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[tokio::test]
    async fn a_repeat_overwrites_and_another_address_or_message_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let changed = b"Message-ID: <1@muster.example>\r\n\r\nlater\r\n";
        for (to, name, bytes, expected) in [
            ("a@muster.example", "1@muster.example", MESSAGE, 1),
            ("a@muster.example", "1@muster.example", changed, 1),
            ("b@muster.example", "1@muster.example", MESSAGE, 2),
            ("a@muster.example", "2@muster.example", MESSAGE, 3),
        ] {
            send(directory.path(), to, &id(name), bytes).await.unwrap();
            assert_eq!(files(directory.path()).len(), expected);
        }
    }

    #[tokio::test]
    async fn a_missing_directory_is_found_before_a_message_is_tried() {
        let directory = tempfile::tempdir().unwrap();
        let failure = send(
            &directory.path().join("none"),
            "a@muster.example",
            &id("1@muster.example"),
            MESSAGE,
        )
        .await
        .unwrap_err();
        assert_eq!(failure.stage, Stage::Connect);
    }

    #[tokio::test]
    async fn what_cannot_be_written_has_not_been_sent() {
        let directory = tempfile::tempdir().unwrap();
        let to = address("a@muster.example");
        let part = format!(".{}.part", file_name(&id("1@muster.example"), &to));
        std::fs::create_dir(directory.path().join(part)).unwrap();
        let failure = send(directory.path(), to.as_str(), &id("1@muster.example"), MESSAGE)
            .await
            .unwrap_err();
        assert_eq!(failure.stage, Stage::Body);
    }
}
