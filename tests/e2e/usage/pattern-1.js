// 1. Submit job
const submitResponse = await fetch('/api/llm/trainer-analysis/', {
    method: 'POST',
    headers: {
        'Content-Type': 'application/json',
        'X-CSRFToken': getCsrfToken()
    },
    body: JSON.stringify({
        model_id: 'model-uuid',
        question_id: 'question-123',
        system_message: 'You are a helpful assistant.',
        full_input: 'Analyze this problem...'
    })
});

const submitData = await submitResponse.json();
const jobId = submitData.job_id;

// 2. Poll for completion
const pollInterval = setInterval(async () => {
    const statusResponse = await fetch(`/api/llm/jobs/${jobId}/status/`);
    const statusData = await statusResponse.json();
    
    if (statusData.is_complete) {
        clearInterval(pollInterval);
        
        if (statusData.status === 'completed') {
            console.log('Job completed:', statusData.result_data);
        } else if (statusData.status === 'failed') {
            console.error('Job failed:', statusData.error_message);
        }
    }
}, 2000); // Poll every 2 seconds
