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
    /// Where the url leads; another one is another cluster.
    of: String,
    places: Vec<Place>,
    /// Ids of the nodes.
    ids: Vec<String>,
    epoch: u64,
    /// Older views in a row.
    outdated: u32,
}

impl Known {
    /// Whether the last connection was to a cluster.
    pub fn is_cluster(&self) -> bool {
        !self.ids.is_empty()
    }

    /// Whether it is the cluster that was written to, by half of its nodes: a single one may have been taken out and
    /// have joined another cluster.
    fn is_of(&self, view: &View) -> bool {
        2 * self.ids.iter().filter(|id| view.ids.contains(id)).count() >= self.ids.len()
    }

    fn is_outdated(&self, sight: &Sight) -> bool {
        sight.epoch < self.epoch && self.is_of(&sight.view) && self.outdated < OUTDATED_MAX
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
        self.ids.clone_from(&sight.view.ids);
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
    if known.of != target.to_string() {
        *known = Known { of: target.to_string(), ..Known::default() };
    }
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
            *known = Known { of: target.to_string(), ..Known::default() };
            return Ok(Opened::One(link));
        }
        Ok((link, true)) => links.push((seed, link)),
        Err(error) => failed = Some(error),
    }
    let has_seed = !links.is_empty();
    let more = remembered.into_iter().zip(more).filter_map(|(place, opened)| match opened {
        Ok((link, true)) => Some((Some(place), link)),
        _ => None,
    });
    links.extend(more);

    let sights = join_all(links.iter_mut().map(|(place, link)| look(place.as_ref(), link))).await;
    let (mut best, mut is_old): (Option<Sight>, bool) = (None, false);
    let mut refused = None;
    // The seed's link, where it opened, is the first one.
    for (i, sight) in sights.into_iter().enumerate() {
        let is_seed = has_seed && i == 0;
        match sight {
            // Only the url itself leads to another cluster.
            Ok(sight) if !known.is_of(&sight.view) && !is_seed => {}
            Ok(sight) => {
                if sight.is_ok && !known.is_of(&sight.view) {
                    tracing::warn!(%target, "the url leads to another cluster now");
                    *known = Known { of: target.to_string(), ..Known::default() };
                    known.add(&sight.view.places);
                    best = Some(sight);
                    break;
                }
                known.add(&sight.view.places);
                is_old |= known.is_outdated(&sight);
                let is_better = best.as_ref().is_none_or(|best| best.epoch < sight.epoch);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn sight(ids: &[&str], epoch: u64) -> Sight {
        let ids = ids.iter().map(|id| (*id).to_owned()).collect();
        Sight { view: View { ids, ..View::default() }, is_ok: true, epoch }
    }

    #[test]
    fn a_view_counts_if_it_is_of_the_same_cluster_and_not_older() {
        let mut known = Known::default();
        assert!(known.is_of(&sight(&["a"], 1).view) && !known.is_cluster(), "nothing is known");
        known.renew(&sight(&["a", "b", "c", "d"], 5));
        for (case, ids, epoch, is_of, is_outdated) in [
            ("the same", &["a", "b", "c", "d"][..], 5, true, false),
            ("newer, two replaced", &["a", "b", "e", "f"], 6, true, false),
            ("older", &["a", "b", "c", "d"], 4, true, true),
            ("one of ours in another cluster", &["a", "x", "y", "z"], 9, false, false),
        ] {
            let sight = sight(ids, epoch);
            assert_eq!((known.is_of(&sight.view), known.is_outdated(&sight)), (is_of, is_outdated), "case: {case}");
        }
        // Who knew more has gone for good: the others are believed after a while.
        known.outdated = OUTDATED_MAX;
        assert!(!known.is_outdated(&sight(&["a", "b", "c", "d"], 4)));
    }
}
