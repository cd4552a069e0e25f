//! Who owns which slot, out of `CLUSTER NODES`, and what a redirect says.
//!
//! `CLUSTER NODES` rather than SLOTS: it names masters that own nothing yet, to which slots may be on their way.

use super::slot::SLOTS;

/// Host and port.
pub type Place = (String, u16);

/// A master as a view names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Master {
    pub id: String,
    /// What it is reached by: its host name where it announces one, else its address.
    pub place: Place,
    /// What redirects may call it besides.
    also: Option<Place>,
    /// First and last slot of each range.
    pub slots: Vec<(u16, u16)>,
}

impl Master {
    /// Whether a redirect to `place` means this node.
    pub fn is_at(&self, place: &Place) -> bool {
        self.place == *place || self.also.as_ref() == Some(place)
    }
}

/// One node's view of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Masters that are not given up, those without slots too.
    pub masters: Vec<Master>,
    /// What the replicas are reached by.
    pub replicas: Vec<Place>,
    /// What every node is reached by.
    pub places: Vec<Place>,
    /// Ids of all nodes, those that were given up too.
    pub ids: Vec<String>,
}

impl View {
    /// Reads the answer of the node at `asked`, which may not know its own address. Lines that cannot be read are left
    /// out: what is missing then shows as a slot without an owner.
    pub fn parse(text: &str, asked: &str) -> Self {
        let mut view = Self::default();
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let [id, address, flags, _, _, _, _, _, slots @ ..] = words.as_slice() else { continue };
            view.ids.push((*id).to_owned());
            let has = |wanted: &str| flags.split(',').any(|flag| flag == wanted);
            let Some((place, also)) = places(address, asked).filter(|_| !has("handshake") && !has("noaddr")) else {
                continue;
            };
            view.places.push(place.clone());
            if has("slave") {
                view.replicas.push(place);
                continue;
            }
            let ranges: Vec<_> = slots.iter().filter_map(|range| range_of(range)).collect();
            if has("master") && !(has("fail") && ranges.is_empty()) {
                view.masters.push(Master { id: (*id).to_owned(), place, also, slots: ranges });
            }
        }
        view
    }

    /// The owner of each slot, as a place in [`View::masters`]; `None` where one has no owner.
    pub fn owners(&self) -> Option<Box<[u16]>> {
        let mut owners = vec![None; usize::from(SLOTS)];
        for (i, master) in (0_u16..).zip(&self.masters) {
            for &(first, last) in &master.slots {
                owners[usize::from(first)..=usize::from(last)].fill(Some(i));
            }
        }
        owners.into_iter().collect()
    }
}

/// `5` or `5-9`; slots on their way (`[93-<-id]`) still belong to who names them without brackets.
fn range_of(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = (first.parse().ok()?, last.parse().ok()?);
    (range.0 <= range.1 && range.1 < SLOTS).then_some(range)
}

/// `ip:port@bus[,hostname[,more]]`; the address may hold colons, and be empty for the node itself.
fn places(text: &str, asked: &str) -> Option<(Place, Option<Place>)> {
    let mut parts = text.split(',');
    let address = parts.next()?;
    let place = place(address.split_once('@').map_or(address, |(place, _)| place), asked)?;
    match parts.next() {
        Some(name) if !name.is_empty() && !name.contains('=') => {
            let port = place.1;
            Some(((name.to_owned(), port), Some(place)))
        }
        _ => Some((place, None)),
    }
}

fn place(text: &str, asked: &str) -> Option<Place> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|&port| port != 0)?;
    // An empty host is the one that was asked; `?` is a host name that nobody has set.
    Some((if matches!(host, "" | "?") { asked } else { host }.to_owned(), port))
}

/// What an error reply says about where to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Redirect {
    /// The slot lives there now.
    Moved(u16, Place),
    /// This once, after ASKING.
    Ask(u16, Place),
}

impl Redirect {
    /// `None` for every other error. `asked` is the host that answered.
    pub fn of(code: &str, detail: &str, asked: &str) -> Option<Self> {
        let (slot, to) = detail.split_once(' ')?;
        let slot = slot.parse().ok().filter(|&slot| slot < SLOTS)?;
        let place = place(to.trim(), asked)?;
        match code {
            "MOVED" => Some(Self::Moved(slot, place)),
            "ASK" => Some(Self::Ask(slot, place)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: &str, port: u16) -> Place {
        (host.to_owned(), port)
    }

    /// Of Redis 7.0, with the ids shortened: slot 93 is on its way from a to b, c is empty, d was given up.
    const NODES: &str = "a 127.0.0.1:30001@40001 master - 0 1426238317239 4 connected 0-5460 [93->-b]
b 127.0.0.1:30002@40002,redis-2.lan master - 0 1426238316232 2 connected 5461-10922 10924 [93-<-a]
m :30003@40003 myself,master - 0 0 7 connected 10923 10925-16383
c 127.0.0.1:30004@40004,,shard-id=5 master - 0 1426238318243 0 connected
d 127.0.0.1:30005@40005 master,fail - 0 1426238318243 9 disconnected
e 127.0.0.1:30006@40006 slave a 0 1426238318243 4 connected
f :0@0 master,noaddr - 0 1426238318243 1 disconnected
g 127.0.0.1:30007@40007 handshake - 0 0 0 connected
not a line
";

    #[test]
    fn a_view_names_masters_slots_and_replicas() {
        let view = View::parse(NODES, "10.0.0.9");
        let ids: Vec<_> = view.masters.iter().map(|m| m.id.as_str()).collect();
        assert_eq!((ids, view.replicas.as_slice()), (vec!["a", "b", "m", "c"], &[at("127.0.0.1", 30_006)][..]));
        assert_eq!(view.places.len(), 6, "the one that was given up may come back as a replica: {:?}", view.places);
        assert_eq!(view.masters[1].place, at("redis-2.lan", 30_002));
        assert!(view.masters[1].is_at(&at("127.0.0.1", 30_002)), "redirects may name the address");
        assert_eq!(view.masters[2].place, at("10.0.0.9", 30_003), "it does not know its own address");
        assert_eq!(
            view.masters[3],
            Master { id: "c".to_owned(), place: at("127.0.0.1", 30_004), also: None, slots: vec![] }
        );
        let owners = view.owners().expect("every slot has an owner");
        let owner = |slot: usize| view.masters[usize::from(owners[slot])].id.as_str();
        assert_eq!(
            [0, 93, 5_460, 5_461, 10_922, 10_923, 10_924, 16_383].map(owner),
            ["a", "a", "a", "b", "b", "m", "b", "m"]
        );
    }

    #[test]
    fn a_slot_without_an_owner_is_no_map() {
        assert_eq!(View::parse(&NODES.replace("10924 ", ""), "h").owners(), None);
        assert_eq!(View::default().owners(), None);
    }

    #[test]
    fn redirects_are_read_and_other_errors_are_none() {
        for (code, detail, expected) in [
            ("MOVED", "3999 127.0.0.1:6381", Some(Redirect::Moved(3_999, at("127.0.0.1", 6_381)))),
            ("ASK", "3999 redis-2.lan:6381", Some(Redirect::Ask(3_999, at("redis-2.lan", 6_381)))),
            ("MOVED", "1 ::1:6381", Some(Redirect::Moved(1, at("::1", 6_381)))),
            ("MOVED", "1 :6381", Some(Redirect::Moved(1, at("asked", 6_381)))),
            ("MOVED", "1 ?:6381", Some(Redirect::Moved(1, at("asked", 6_381)))),
            ("MOVED", "16384 h:1", None),
            ("MOVED", "1 h", None),
            ("TRYAGAIN", "Multiple keys request during rehashing of slot", None),
            ("CLUSTERDOWN", "Hash slot not served", None),
        ] {
            assert_eq!(Redirect::of(code, detail, "asked"), expected, "case: {code} {detail}");
        }
    }
}
