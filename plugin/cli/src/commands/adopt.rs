//! `adopt`: puts the images that containerd has into our snapshotter.

use anyhow::Result;
use chunked_client::unpack;

use super::moving::Node;
use crate::args::Adopt;
use crate::settings;

pub(crate) async fn run(command: Adopt) -> Result<()> {
    let settings = settings::for_person(&command.moving.common)?;
    let (snapshotter, all) = (command.moving.snapshotter.clone(), command.all);
    let node = Node::of(command.moving, &settings, |held| all || !held.snapshotters.is_empty()).await?;
    let moved = node
        .each("adopted", async |chosen| {
            let image = node.find(chosen).await?.image;
            let session = node.session(chosen).await?;
            let got = unpack(&session, &snapshotter, &image, &chosen.name).await;
            Node::close(session).await;
            Ok((got?, 0))
        })
        .await;
    node.end(&moved, "")
}
