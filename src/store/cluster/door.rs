//! Into a cluster: whom to ask for the map, which answer to believe, and a connection to every node.

use super::many::Many;
use super::map::{Place, View};
use crate::store::class::Class;
use crate::store::link::{Link, LinkError, Target};
use crate::store::reply;
use futures_util::future::join_all;
use redis::Value;
use std::time::Duration;

/// Nodes that are remembered.
const PLACES_MAX: usize = 64;
/// So often in a row an older view is refused; then the one that knew more has gone for good. What makes a view safe to
/// use is the guard; this only keeps sessions from beginning at nodes that have lost their office.
const OUTDATED_MAX: u32 = 20;

/// What is known of the cluster from one session to the next, so that the node in the url may die.
#[derive(Clone, Debug, Default)]
pub struct Known {
    places: Vec<Place>,
    /// Ids of the masters.
    masters: Vec<String>,
    epoch: u64,
    /// Older views in a row.
    outdated: u32,
}

impl Known {
    /// Whether the last connection was to a cluster.
    pub fn is_cluster(&self) -> bool {
        !self.masters.is_empty()
    }

    /// A cluster with none of the known nodes is another one.
    fn is_outdated(&self, sight: &Sight) -> bool {
        let is_same = sight.view.masters.iter().any(|m| self.masters.contains(&m.id));
        sight.epoch < self.epoch && is_same && self.outdated < OUTDATED_MAX
    }

    fn add(&mut self, places: &[Place]) {
        for place in places {
            if self.places.len() < PLACES_MAX && !self.places.contains(place) {
                self.places.push(place.clone());
            }
        }
    }

    fn renew(&mut self, sight: &Sight) {
        self.places.clear();
        self.add(&sight.view.places);
        self.masters = sight.view.masters.iter().map(|m| m.id.clone()).collect();
        self.epoch = sight.epoch;
        self.outdated = 0;
    }
}

/// How one node sees the cluster.
struct Sight {
    view: View,
    is_ok: bool,
    epoch: u64,
}

/// How long each step may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub connect: Duration,
    pub reply: Duration,
}

/// Either one server, or all masters of a cluster.
pub enum Opened {
    One(Link),
    Many(Many),
}

/// Connects to the one server, or to every node of the cluster that the url or what is known leads to.
pub async fn open(target: &Target, known: &mut Known, limits: Limits) -> Result<Opened, LinkError> {
    let at = |place: &Place| Link::enter_at(target, place.clone(), limits.connect, limits.reply);
    let seed = target.seed();
    let remembered: Vec<Place> = known.places.iter().filter(|&p| Some(p) != seed.as_ref()).cloned().collect();
    let (first, more) = futures_util::future::join(
        Link::enter(target, limits.connect, limits.reply),
        join_all(remembered.iter().map(at)),
    )
    .await;
    let mut links: Vec<(Option<Place>, Link)> = Vec::new();
    let mut failed = None;
    match first {
        Ok((link, false)) => {
            *known = Known::default();
            return Ok(Opened::One(link));
        }
        Ok((link, true)) => links.push((seed, link)),
        Err(error) => failed = Some(error),
    }
    let more = remembered.into_iter().zip(more).filter_map(|(place, opened)| match opened {
        Ok((link, true)) => Some((Some(place), link)),
        _ => None,
    });
    links.extend(more);

    let sights = join_all(links.iter_mut().map(|(place, link)| look(place.as_ref(), link))).await;
    let (mut best, mut is_old): (Option<Sight>, bool) = (None, false);
    let mut refused = None;
    for sight in sights {
        match sight {
            Ok(sight) => {
                known.add(&sight.view.places);
                let is_better = best.as_ref().is_none_or(|best| best.epoch < sight.epoch);
                is_old |= known.is_outdated(&sight);
                if sight.is_ok && is_better && !known.is_outdated(&sight) {
                    best = Some(sight);
                }
            }
            Err(error) => {
                tracing::debug!(%error, "a node of the cluster does not say what it sees");
                refused = Some(error);
            }
        }
    }
    if best.is_none()
        && let Some(LinkError::Refused { code, class: Class::Config }) = refused
    {
        return Err(LinkError::Refused { code, class: Class::Config });
    }
    let Some((best, owners)) = best.and_then(|best| best.view.owners().map(|owners| (best, owners))) else {
        known.outdated += u32::from(is_old);
        return Err(if links.is_empty() { failed.unwrap_or(LinkError::ClusterDown) } else { LinkError::ClusterDown });
    };
    known.renew(&best);

    // Connections that are there already are used; what is missing is opened.
    let mut take = |is_it: &dyn Fn(&Place) -> bool| {
        let found = links.iter().position(|(place, _)| place.as_ref().is_some_and(is_it));
        found.map(|i| links.swap_remove(i).1)
    };
    let masters = best.view.masters.into_iter().map(|master| (take(&|p| master.is_at(p)), master)).collect::<Vec<_>>();
    let masters = masters.into_iter().map(|(link, master)| async {
        let link = match link {
            Some(link) => link,
            None => at(&master.place).await?.0,
        };
        Ok::<_, LinkError>((master, link))
    });
    let masters = join_all(masters).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    // Only what is known to be a replica: by another name or a socket, one of the masters may be among the links.
    links.retain(|(place, _)| place.as_ref().is_some_and(|place| best.view.replicas.contains(place)));
    let absent = best.view.replicas.iter().filter(|r| !links.iter().any(|(place, _)| place.as_ref() == Some(r)));
    let opened = join_all(absent.map(at)).await;
    let others = links.into_iter().map(|(_, link)| link).chain(opened.into_iter().flatten().map(|(link, _)| link));
    Ok(Opened::Many(Many::new(masters, others.collect(), owners, limits.reply)))
}

async fn look(place: Option<&Place>, link: &mut Link) -> Result<Sight, LinkError> {
    let info = text(&link.call(&["CLUSTER", "INFO"]).await?);
    let nodes = text(&link.call(&["CLUSTER", "NODES"]).await?);
    let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    Ok(Sight {
        view: View::parse(&nodes, place.map_or("127.0.0.1", |(host, _)| host)),
        is_ok: field("cluster_state:") == Some("ok"),
        epoch: field("cluster_current_epoch:").and_then(|n| n.parse().ok()).unwrap_or(0),
    })
}

fn text(value: &Value) -> String {
    match value {
        Value::VerbatimString { text, .. } => text.clone(),
        other => reply::text(other).unwrap_or_default().to_owned(),
    }
}
