import Maildir

/// Files that came and have no UID yet, in the order of coming; one for each base name.
struct Arrivals {
    private var places: [[UInt8]: (location: FileLocation, number: UInt64)] = [:]
    private var lastNumber: UInt64 = 0

    var count: Int { places.count }
    var isEmpty: Bool { places.isEmpty }

    /// Notes a file. Returns whether its message is new here; else its file has another name now.
    mutating func insert(_ base: [UInt8], _ location: FileLocation) -> Bool {
        if let known = places[base] {
            places[base] = (location, known.number)
            return false
        }
        lastNumber += 1
        places[base] = (location, lastNumber)
        return true
    }

    /// Forgets a message whose file went away; not where it is known under another name by now.
    mutating func remove(_ base: [UInt8], at location: FileLocation) -> Bool {
        guard places[base]?.location == location else { return false }
        places[base] = nil
        return true
    }

    mutating func remove(_ base: [UInt8]) { places[base] = nil }

    mutating func removeAll(where isGone: ([UInt8]) -> Bool) {
        places = places.filter { !isGone($0.key) }
    }

    /// Those that came first, at most that many.
    func first(_ countMax: Int) -> [FileLocation] {
        places.values.sorted { $0.number < $1.number }.prefix(countMax).map(\.location)
    }
}
