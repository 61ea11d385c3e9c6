//! `GET /apiv1/stems/{hash}.zip`: all stems of a song in one file, made while it is sent.

use std::sync::Arc;

use async_zip::tokio::write::ZipFileWriter;
use async_zip::{Compression, ZipDateTime, ZipDateTimeBuilder, ZipEntryBuilder};
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::AsyncWriteExt;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::io::DuplexStream;
use tokio_util::io::ReaderStream;

use super::Shared;
use super::tracks::content_disposition;
use crate::desk::{Desk, Track};
use crate::download::Download;
use crate::error::{ApiError, NoTrack};

/// Bytes between the one who packs and the one who sends.
const PIPE: usize = 256 << 10;
/// An archive of fewer bytes, names and headers left room for, is written in the form that every
/// program reads.
const SMALL: u64 = (4 << 30) - (1 << 20);

pub(crate) async fn stems(
    State(gateway): Shared,
    Path(file): Path<String>,
) -> Result<Response, ApiError> {
    let Some(hash) = file.strip_suffix(".zip") else {
        let hint = "all tracks together are at /apiv1/stems/<hash>.zip".to_owned();
        return Err(ApiError::NoTrack(NoTrack { hint, ..NoTrack::default() }));
    };
    let desk = gateway.desk()?;
    let (title, tracks) = desk.tracks(hash).await?;
    let (packed, sent) = tokio::io::duplex(PIPE);
    tokio::spawn(async move {
        // A client that hangs up ends it as well, and no archive is whole without its last bytes.
        if let Err(error) = pack(desk, tracks, packed).await {
            tracing::warn!(%error, "an archive of stems breaks off");
        }
    });
    let headers = [
        (header::CONTENT_TYPE, "application/zip".to_owned()),
        (header::CONTENT_DISPOSITION, content_disposition("attachment", &format!("{title}.zip"))),
        (header::CACHE_CONTROL, "no-cache".to_owned()),
    ];
    Ok((headers, Body::from_stream(ReaderStream::with_capacity(sent, PIPE))).into_response())
}

/// Stores each stem as it is: audio files are compressed already.
async fn pack(desk: Arc<Desk>, tracks: Vec<Track>, into: DuplexStream) -> anyhow::Result<()> {
    let mut archive = ZipFileWriter::with_tokio(into);
    let size: u64 = tracks.iter().map(|track| track.stem.object.size).sum();
    if size < SMALL {
        archive = archive.force_no_zip64();
    }
    let date = date(Timestamp::now());
    for Track { stem, file_name } in tracks {
        let mut download = Download::open(desk.bus(), &stem.object, 0..stem.object.size).await?;
        let entry = ZipEntryBuilder::new(file_name.into(), Compression::Stored);
        let entry = entry.last_modification_date(date);
        let mut file = archive.write_entry_stream(entry).await?;
        while let Some(bytes) = download.next().await? {
            file.write_all(&bytes).await?;
        }
        file.close().await?;
    }
    archive.close().await?;
    Ok(())
}

fn date(time: Timestamp) -> ZipDateTime {
    let time = time.to_zoned(TimeZone::UTC);
    let small = |number: i8| u32::from(number.unsigned_abs());
    ZipDateTimeBuilder::new()
        .year(i32::from(time.year()))
        .month(small(time.month()))
        .day(small(time.day()))
        .hour(small(time.hour()))
        .minute(small(time.minute()))
        .second(small(time.second()))
        .build()
}
