package import Maildir

/// Which flags of a message a change touched, so that a condition on one flag does not fail since
/// another changed.                                                          RFC 7162 §3.1.12
package struct ChangedFlags: Sendable, Equatable {
    package var letters: FlagLetters.Known
    /// Whether some keyword without a letter is among them: they are not told apart.
    package var beyond: Bool

    package init(letters: FlagLetters.Known = [], beyond: Bool = false) {
        self.letters = letters
        self.beyond = beyond
    }

    package mutating func formUnion(_ other: ChangedFlags) {
        letters.formUnion(other.letters)
        beyond = beyond || other.beyond
    }

    package func isDisjoint(with other: ChangedFlags) -> Bool {
        letters.isDisjoint(with: other.letters) && !(beyond && other.beyond)
    }
}
