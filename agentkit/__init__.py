"""agentkit: agents and tool calling over Chat Completions."""

from agentkit.agent import Agent, Result
from agentkit.chat.settings import Settings
from agentkit.errors import AgentKitError
from agentkit.fallback import FallbackModel
from agentkit.logs import debug, redact
from agentkit.messages import (
    Audio,
    File,
    Image,
    Message,
    Reply,
    ToolCall,
    ToolResult,
    ToolSpec,
    Usage,
)
from agentkit.model import ChatModel, Model
from agentkit.pacing import Pacing
from agentkit.policy import Limits, Retries, Timeouts
from agentkit.tools import Context, Retry, Tool, tool
from agentkit.transcript import Transcript

__all__ = [
    "Agent",
    "AgentKitError",
    "Audio",
    "ChatModel",
    "Context",
    "FallbackModel",
    "File",
    "Image",
    "Limits",
    "Message",
    "Model",
    "Pacing",
    "Reply",
    "Result",
    "Retries",
    "Retry",
    "Settings",
    "Timeouts",
    "Tool",
    "ToolCall",
    "ToolResult",
    "ToolSpec",
    "Transcript",
    "Usage",
    "debug",
    "redact",
    "tool",
]
