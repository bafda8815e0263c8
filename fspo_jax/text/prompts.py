"""A prompt as one text, for encoders that read one text, and as a conversation."""

from __future__ import annotations

from fspo_jax.types import Message, Prompt, check_prompt


def render_prompt(prompt: Prompt) -> str:
    """Returns a string prompt as it is, and a conversation with one line `role: content` per message.

    Args:
        prompt: A string, or the messages of a conversation.

    Example:
        >>> from fspo_jax.types import Message
        >>> render_prompt((Message("user", "Hi"), Message("assistant", "Hello")))
        'user: Hi\\nassistant: Hello'
    """
    if isinstance(prompt, str):
        return prompt
    return "\n".join(f"{message.role}: {message.content}" for message in prompt)


def messages_of(prompt: Prompt) -> tuple[Message, ...]:
    """A prompt as a conversation; raises as `check_prompt` does, for writers that are called by themselves."""
    prompt = check_prompt(prompt)
    return (Message("user", prompt),) if isinstance(prompt, str) else prompt
