package rbe.edge;

/** What somebody said in a conversation. */
public final class Message {
    public enum Role {
        SYSTEM("system"),
        USER("user"),
        ASSISTANT("assistant");

        final String word;

        Role(String word) {
            this.word = word;
        }
    }

    public final Role role;
    public final String content;

    public Message(Role role, String content) {
        if (role == null || content == null) {
            throw new NullPointerException("a message has a role and a content");
        }
        this.role = role;
        this.content = content;
    }
}
