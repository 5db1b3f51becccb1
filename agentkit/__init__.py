"""agentkit: agents and tool calling over Chat Completions."""

from agentkit.agent import Agent
from agentkit.approval import Answer, Approve, Deny
from agentkit.budget import Budget
from agentkit.chat.settings import Settings
from agentkit.context import Context, Retry
from agentkit.errors import AgentKitError
from agentkit.fallback import FallbackModel
from agentkit.guards import InputGuard, Refuse, ToolGuard
from agentkit.handoffs import Handoff
from agentkit.instructions import Instruction
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
from agentkit.output import Output
from agentkit.pacing import Pacing
from agentkit.policy import Limits, Retries, Timeouts
from agentkit.prices import Price
from agentkit.result import Result
from agentkit.tools import Tool, tool
from agentkit.toolsets import Searchable, Toolset
from agentkit.transcript import Transcript

__all__ = [
    "Agent",
    "AgentKitError",
    "Answer",
    "Approve",
    "Audio",
    "Budget",
    "ChatModel",
    "Context",
    "Deny",
    "FallbackModel",
    "File",
    "Handoff",
    "Image",
    "InputGuard",
    "Instruction",
    "Limits",
    "Message",
    "Model",
    "Output",
    "Pacing",
    "Price",
    "Refuse",
    "Reply",
    "Result",
    "Retries",
    "Retry",
    "Searchable",
    "Settings",
    "Timeouts",
    "Tool",
    "ToolCall",
    "ToolGuard",
    "ToolResult",
    "ToolSpec",
    "Toolset",
    "Transcript",
    "Usage",
    "debug",
    "redact",
    "tool",
]
